"""What the documents list is what the server has."""

import re
from pathlib import Path

import pytest

from elman_server import errors
from elman_server.config.server_config import ConnectionConfig, ServerConfig
from elman_server.config.settings import settings_of
from elman_server.door.elman_v1.status import code_of
from elman_server.telemetry.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"
ERRORS = {kind.reason: kind for kind in errors.ServiceError.__subclasses__() if kind.__module__ == errors.__name__}


def table_rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table under that header."""
    rows = text.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_protocols_table_of_errors_has_every_reason_with_its_code() -> None:
    rows = table_rows((DOCS / "protocol.md").read_text(), "| reason | code |")
    assert {row[0]: row[1] for row in rows} == {r: code_of(kind("")).name for r, kind in ERRORS.items()}


def test_the_table_of_metrics_has_every_metric_and_no_other() -> None:
    text = (DOCS / "operations.md").read_text()
    listed = {
        name for row in table_rows(text, "| metric | what it tells |") for name in re.findall(r"elman_\w+", row[0])
    }
    collected = list(Metrics().registry.collect())
    counters = {metric.name for metric in collected if metric.type == "counter"}
    names = {f"{m.name}_total" if m.name in counters else m.name for m in collected if m.name.startswith("elman_")}
    assert listed == names


@pytest.mark.parametrize("page", ["operations.md", "open-inference-protocol.md", "protocol.md"])
def test_settings_that_are_named_are_settings(page: str) -> None:
    known = set(settings_of(ServerConfig)) | set(settings_of(ConnectionConfig))
    text = (DOCS / page).read_text()
    variables = {name.lower() for name in re.findall(r"ELMAN_([A-Z_]+)\b", text)} - {"config"}
    tabled = {n for row in table_rows(text, "| setting | default |") for n in re.findall(r"`([a-z_]+)`", row[0])}
    assert variables | tabled <= known
