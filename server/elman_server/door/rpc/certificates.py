"""TLS of the port: files of certificates, checked at the start and read again as they change."""

import logging
import os
import ssl
from pathlib import Path
from typing import NamedTuple

from elman_server.config.server_config import TlsConfig

log = logging.getLogger(__name__)


class CertificateError(ValueError):
    """Files that cannot be served with; the message names the setting, what was expected and what came."""


class CertificateFiles(NamedTuple):
    """PEM files, which are read again as they change."""

    private_key: Path
    certificate_chain: Path
    """The server's own first."""
    client_ca: Path | None = None
    """Who must have signed callers' certificates; None: none is asked for."""
    refresh_seconds: int = 2
    """How often they are looked at, where that is by time."""

    def __str__(self) -> str:
        callers = f", of callers who show a certificate of {self.client_ca}" if self.client_ca else ""
        return f"certificate {self.certificate_chain}, key {self.private_key}{callers}"


class CertificateBytes(NamedTuple):
    """What is in them."""

    private_key: bytes
    certificate_chain: bytes
    client_ca: bytes | None


def files_of(config: TlsConfig) -> CertificateFiles | None:
    """The files of the settings, which are good now; None: without TLS.

    Raises:
        CertificateError: they are not.
    """
    certificate, key = config.tls_certificate, config.tls_key
    if certificate and key:
        files = CertificateFiles(key, certificate, config.tls_client_ca)
        check(files)
        return files
    for name, value in config.model_dump().items():
        if value:
            missing = "tls_key" if certificate else "tls_certificate"
            raise CertificateError(f"{missing}: expected a file beside {name}, {value}, got none")
    return None


def check(files: CertificateFiles) -> None:
    """Raises CertificateError: a file cannot be read, is not of that kind in PEM, or the key is another's."""
    check_certificates("tls_certificate", files.certificate_chain)
    if files.client_ca:
        check_certificates("tls_client_ca", files.client_ca)
    check_key("tls_key", files.certificate_chain, files.private_key)


def check_key(name: str, certificate_chain: Path, key: Path) -> None:
    """Raises CertificateError, by the name of the setting: it cannot be read, or is no key of that certificate's."""
    _check_readable(name, key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_chain, key, password=lambda: "")
    except ssl.SSLError as error:
        came = "another key" if error.reason == "KEY_VALUES_MISMATCH" else "no such key"
        raise CertificateError(
            f"{name}: expected the private key of {certificate_chain} in PEM, without a password, got {came} in {key}"
        ) from error


def check_certificates(name: str, path: Path) -> None:
    """Raises CertificateError, by the name of the setting: it cannot be read, or has no certificates."""
    _check_readable(name, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise CertificateError(f"{name}: expected certificates in PEM, got something else in {path}") from error


class CertificateReader:
    """Reads them when they have changed. On any one thread at a time."""

    def __init__(self, files: CertificateFiles, until_good: str) -> None:
        """`until_good`: what happens while they are not, for the log. Raises CertificateError."""
        check(files)
        self._files = files
        self._until_good = until_good
        self._seen = self._state()

    def read(self) -> CertificateBytes:
        """What is in them now. Raises OSError."""
        key, chain, client_ca, _ = self._files
        return CertificateBytes(key.read_bytes(), chain.read_bytes(), client_ca.read_bytes() if client_ca else None)

    def changed(self) -> CertificateBytes | None:
        """What is in them, if it is new since they were last read and good; what is not is logged, once."""
        state = self._state()
        if state == self._seen:
            return None
        self._seen = state
        try:
            check(self._files)
            certificates = self.read()
        except (CertificateError, OSError) as error:
            log.warning("the certificates have changed and are not good, %s: %s", self._until_good, error)
            return None
        log.info("the certificates have changed: new connections are served with them")
        return certificates

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_identity(path) for path in self._files[:3] if path]


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_readable(name: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{name}: {path} cannot be read: {error.strerror}") from error
