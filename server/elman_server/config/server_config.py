"""Configuration: frozen, one class per component, read in one place from arguments, environment and file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from elman_server.config.address import Address, AddressField, ListenField, TargetField
from elman_server.config.setting import Expected

Count = Annotated[int, Field(ge=1, le=1 << 31)]
Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
MAX_SECONDS = 100_000_000
"""Three years: a clock, a timer and a `Duration` hold it."""
File = Annotated[Path, Expected("a file", "FILE")]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Limits(_Frozen):
    """Bounds of one server process; those of slots and rows hold for each model version."""

    max_sessions: Annotated[int, Field(ge=1, le=(1 << 24) - 65536)] = 65536
    """Sessions per model version."""
    when_full: Literal["refuse", "evict"] = "refuse"
    """At max_sessions: refuse new sessions, or evict the idle ones that were unused for the longest."""
    idle_timeout_seconds: Seconds | None = 3600.0
    """A session unused for that long expires; none: never."""
    end_on_disconnect: bool = False
    """Whether sessions whose caller did not say end with the stream that drives them."""
    max_tombstones: Annotated[int, Field(ge=0)] = 100_000
    """Expired and evicted sessions remembered per model, so that their callers are told."""
    max_rows: Count = 256
    """Rows of a batch."""
    max_slice: Count = 16
    """Steps of one row in one batch; the rest of a longer chunk goes to the back of the line."""
    max_queue_rows: Annotated[int, Field(ge=1, le=1 << 22)] = 16384
    """Chunks that wait or run, per model version."""
    max_queue_bytes: Bytes = 256 << 20
    """Bytes of their input, per model version."""
    max_caller_rows: Count = 8192
    """Rows of one caller that wait, run or lie unread; at it, or at its share of the queue, it is read no further."""
    max_caller_bytes: Bytes = 64 << 20
    """Bytes of one caller's input that waits and output that lies unread; likewise."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=63 << 20)] = 16 << 20
    """Bytes of one message."""
    max_infer_rows: Annotated[int, Field(ge=1, le=65536)] = 1024
    """Rows of `Infer` that run at a time, per model version."""
    max_infer_steps: Count = 16384
    """Steps of one row of `Infer` on a bidirectional model, whose rows run whole."""
    max_kept_states: Annotated[int, Field(ge=0, le=1 << 20)] = 4096
    """Final states that `Infer` has kept, per version of a model that needs whole sequences; of others they are
    sessions as any."""
    max_generate_steps: Annotated[int, Field(ge=1, le=1 << 24)] = 65536
    """Steps that one call of `Generate` makes."""
    replay_chunks: Annotated[int, Field(ge=0, le=64)] = 8
    """A session's last chunks whose answers are held for a caller that asks again."""
    replay_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 64 << 20
    """Bytes of all held answers, per model version."""
    max_marks: Annotated[int, Field(ge=0, le=4096)] = 16
    """Marks of one session, copies of its state to return to; 0: none."""
    max_mark_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 64 << 20
    """Bytes of the marks of all sessions, per model version."""
    refuse_non_finite: bool = True
    """Whether input that is NaN or infinite is refused."""


class LogConfig(_Frozen):
    """What is logged, on the standard error."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    log_format: Literal["text", "json"] = "text"
    """A line of text for each record, or a JSON object: time, level, logger, message, and exception if there is one."""


class TlsConfig(_Frozen):
    """TLS of the port that gRPC is served at. The files are read again as they change."""

    tls_certificate: File | None = None
    """The server's certificate, and those between it and its authority, in PEM; with it TLS alone is served."""
    tls_key: File | None = None
    """Its private key, in PEM."""
    tls_client_ca: File | None = None
    """Certificates of the authorities of callers, in PEM: who shows none that they have signed is refused."""


class ConnectionConfig(_Frozen):
    """How the commands reach a running server."""

    target: TargetField = "localhost:8470"
    """The server's address; its port is 8470 where none is named."""
    tls_server_ca: File | None = None
    """Talks TLS: certificates of the authorities of servers, in PEM, or `default`, those that gRPC trusts by itself."""
    tls_server_name: str | None = None
    """The name that the server's certificate must bear, where it is not that of the target."""
    tls_client_certificate: File | None = None
    """The command's own certificate, in PEM, where the server asks for one."""
    tls_client_key: File | None = None
    """Its private key, in PEM."""
    timeout_seconds: Seconds = 10.0
    """The longest time that a call may take."""


class HealthConfig(ConnectionConfig):
    """For a probe: what does not answer soon is not well."""

    timeout_seconds: Seconds = 3.0
    """The longest time that the answer may take."""


class LoadingConfig(ConnectionConfig):
    """For loading, which may measure plans, and unloading, which lets steps finish."""

    timeout_seconds: Seconds = 600.0
    """The longest time that the call may take."""


class ServerConfig(_Frozen):
    """One server process."""

    models: Annotated[Path, Expected("a folder", "DIR")]
    """The bundles to serve: a folder of them, or one."""
    listen: ListenField = Address("127.0.0.1", 8470)
    """Where gRPC is served; port 0 takes a free one."""
    socket_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$"), Expected("three octal digits, as 660", "MODE")] = "600"
    """Permissions of the unix socket that `listen` names: whoever may write to it is served."""
    tls: TlsConfig = TlsConfig()
    """Certificates of the port."""
    keepalive_seconds: Seconds | None = 60.0
    """A connection over which nothing has come for that long is asked whether its caller is there; none: never."""
    keepalive_timeout_seconds: Seconds = 20.0
    """The longest time that its answer may take; without one the connection is ended, and its calls are cancelled."""
    metrics_listen: AddressField | None = Address("127.0.0.1", 9470)
    """Where Prometheus text is served, at /metrics; port 0 takes a free one; none: nowhere."""
    door: Literal["auto", "native", "plain"] = "auto"
    """Which gRPC server takes the calls: native is elman-native, plain is grpc.aio; auto takes native where it is
    installed."""
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$"), Expected("auto, cpu, cuda or cuda:N", "DEVICE")
    ] = "auto"
    """Where models run; auto takes CUDA where there is one."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """torch's threads within one operation; none: one less than torch takes by itself: a core for the wire."""
    warm_up_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = 12.0
    """Longest time to measure which plan runs which batch of a model best; 0: not at all."""
    cache: Annotated[Path | None, Expected("a folder", "DIR")] = Path("~/.cache/elman")
    """Where measured plan tables are kept; none: nowhere."""
    plans: Annotated[
        str | dict[str, str] | None,
        Expected("one plan's name for every batch, in a file also names by shape, as {'8x16': ort}", "PLAN"),
    ] = None
    """Which plan runs which batch, whatever was measured; `elman-server plans` shows the names."""
    drain_seconds: Seconds = 30.0
    """At a stop, the longest time for what was admitted to be answered."""
    oip_strict_order: bool = False
    """On the Open Inference Protocol's streams: answers in the order of all requests, not only of each sequence's."""
    oip_optional_inputs: bool = False
    """On the Open Inference Protocol: whether metadata and configuration list the optional h_0 and c_0, too."""
    limits: Limits = Limits()
    """Bounds of rows, bytes, sessions and times."""
    log: LogConfig = LogConfig()
    """What is logged, and how."""

    @property
    def socket_permissions(self) -> int:
        """`socket_mode` as a number."""
        return int(self.socket_mode, 8)
