"""The log: one handler on the standard error, of lines of text or of JSON."""

import json
import logging
import sys
import time
from collections.abc import Callable

from elman_server.config.server_config import LogConfig

OURS = ("elman_server", "elman_models")
"""The loggers whose level can be set below that of everyone else's: libraries' DEBUG is for their authors."""

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """`time` in UTC (RFC 3339), `level`, `logger`, `message`, and `exception` if there is one."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


class StandardErrorHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever the standard error is then."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)


FORMATTERS: dict[str, Callable[[], logging.Formatter]] = {
    "text": lambda: logging.Formatter(TEXT),
    "json": JsonFormatter,
}


def set_up_logging(config: LogConfig) -> None:
    """Has the process log as configured; may be called again. Others' handlers stay."""
    level = getattr(logging, config.log_level.upper())
    handler = StandardErrorHandler()
    handler.setFormatter(FORMATTERS[config.log_format]())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, StandardErrorHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(level, logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
