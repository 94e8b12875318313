"""What a call to a server failed of, in words for a person."""

import re
from typing import Any

import grpc

_REFUSED = {
    grpc.StatusCode.UNAVAILABLE: "no server answers",
    grpc.StatusCode.UNIMPLEMENTED: "what answers there is no elman server",
}
"""What a person is told first where a code says more than its details do."""
_NOTHING = re.compile(r"(: Invalid certificate verification context)?: OK$")
"""Behind what TLS failed of: what there would be to say of the certificate."""


def explain(error: Any, timeout_seconds: float | None = None) -> str:
    """What a call failed of, in one line without gRPC's own words."""
    code, details = error.code(), " ".join((error.details() or "").split())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time" if timeout_seconds is None else f"no answer within {timeout_seconds:g} s"
    if code in _REFUSED:
        # gRPC nests causes: the last is the one that means something, as "Connection refused".
        cause = _NOTHING.sub("", details).rpartition(": ")[2].rpartition("OPENSSL_internal:")[2].rstrip("]")
        return f"{_REFUSED[code]}{f' ({cause})' if cause else ''}"
    return details or code.name
