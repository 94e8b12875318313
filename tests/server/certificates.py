"""Authorities that sign certificates for tests, by the openssl command."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

if not shutil.which("openssl"):
    pytest.skip("no openssl to make certificates with", allow_module_level=True)

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Signed(NamedTuple):
    """A key and a certificate for it, both PEM files."""

    key: Path
    certificate: Path

    def put_in_place_of(self, other: "Signed") -> None:
        """Becomes what is in those files."""
        for source, target in zip(self, other, strict=True):
            shutil.copy(source, target)


class Authority:
    """One who signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        out = ("-keyout", str(self.key), "-out", str(self.certificate))
        _openssl("req", "-x509", *NEW_KEY, *out, "-subj", f"/CN={name}", "-days", "2")

    def sign(self, name: str, host: str = "localhost") -> Signed:
        """A certificate for that host."""
        key, request, certificate = (self._folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        _openssl("req", *NEW_KEY, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        names = self._folder / "names"
        names.write_text(f"subjectAltName=DNS:{host}\n")
        signed = ("-CA", str(self.certificate), "-CAkey", str(self.key), "-CAcreateserial", "-extfile", str(names))
        _openssl("x509", "-req", "-in", str(request), *signed, "-out", str(certificate), "-days", "2")
        return Signed(key, certificate)


def _openssl(*command: str) -> None:
    subprocess.run(("openssl", *command), check=True, capture_output=True)
