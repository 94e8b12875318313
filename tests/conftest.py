"""In a CI nothing is skipped for want of a tool: what cannot run there would never fail there. Nowhere does a test fail
for being slow: other work may share the machine.
"""

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

GPU = Path(__file__).parent / "gpu"


def is_ci() -> bool:
    """Whether a continuous integration runs the tests: `CI` says so, as all of them set it."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport, path: Path) -> None:
    """Makes a skip a failure in a CI. A CUDA device is nothing that one can install."""
    if report.skipped and is_ci() and not hasattr(report, "wasxfail") and GPU not in path.parents:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in a CI, where all that tests need must be there: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """For each test; one marked `hardware` may be skipped for what the machine is."""
    report = yield
    if not item.get_closest_marker("hardware"):
        fail_if_skipped(report, item.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """For each file."""
    report = yield
    fail_if_skipped(report, collector.path)
    return report


@pytest.fixture(autouse=True)
def _logging_is_as_before() -> Iterator[None]:
    """A command that a test has run in this process sets up the log of the process: not for the tests after it."""
    loggers = [logging.getLogger(name) for name in (None, "elman_server", "elman_models")]
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    yield
    loggers[0].handlers[:] = [handler for handler in loggers[0].handlers if handler in handlers]
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
