"""Whoever has an answer and then reads a counter finds it counted; a scrape is answered whatever the engine does."""

import asyncio
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families
from served import Serve, Served
from toys import SPECS, random_input
from until import until

from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.stubs.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from elman_server.engine.launch import Launch
from elman_server.telemetry import scrape
from elman_server.telemetry.scrape import ScrapedRegistry

STEPS = "elman_session_steps_total"


def scraped_steps(served: Served, query: str = "") -> float:
    """The steps that a scrape tells of."""
    with urllib.request.urlopen(f"http://{served.server.metrics_address}/metrics{query}", timeout=60) as page:
        families = text_string_to_metric_families(page.read().decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == STEPS)


def counted_batches(served: Served) -> float:
    """The batches that the Open Inference Protocol's statistics tell of."""
    with grpc.insecure_channel(served.server.address) as channel:
        stats = GRPCInferenceServiceStub(channel).ModelStatistics(pb.ModelStatisticsRequest(name="lstm"), timeout=60)
    return float(stats.model_stats[0].execution_count)


READ = {
    "a scrape": (scraped_steps, 4),
    "a scrape of one metric": (lambda served: scraped_steps(served, f"?name[]={STEPS}"), 4),
    "statistics": (counted_batches, 1),
}


@pytest.mark.parametrize("what", READ)
async def test_what_is_read_after_an_answer_has_what_is_counted_after_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(scrape, "MAX_WAIT_SECONDS", 60.0)
    (read, want), served = READ[what], await serve("lstm")
    with ThreadPoolExecutor(1) as reader:
        found = read_before_tidying(served, read, reader, monkeypatch)
        await step_four(served)
        await until(lambda: found)  # the answer is read before the batch is tidied up after
        assert await asyncio.wrap_future(found[0]) == want


async def step_four(served: Served) -> None:
    """Four steps of one session, answered."""
    opened, stepper = await served.open("lstm", count=1), await served.step()
    x = random_input(SPECS["lstm"], np.random.default_rng(1), 4)
    await stepper.finish(await stepper.send(opened.handles, [x]))


def read_before_tidying(
    served: Served, read: Callable[[Served], float], reader: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> list[Future[float]]:
    """Has somebody read as a batch is answered and not yet counted; the batch is counted when they have what they came
    for, or wait."""
    found: list[Future[float]] = []
    clean_up, wait, has_come = Launch.clean_up, ScrapedRegistry._await_turn, threading.Event()
    call = served.server.door.engine.call

    def called(function: Callable[[], object]) -> "asyncio.Future[object]":
        has_come.set()
        return call(function)

    def come(registry: ScrapedRegistry) -> None:
        has_come.set()
        wait(registry)

    def clean_up_late(launch: Launch) -> None:
        if launch.worker.runtime is served.runtime("lstm"):
            found.append(reader.submit(read, served))
            found[-1].add_done_callback(lambda _: has_come.set())
            assert has_come.wait(60)
        clean_up(launch)

    monkeypatch.setattr(ScrapedRegistry, "_await_turn", come)
    monkeypatch.setattr(served.server.door.engine, "call", called)
    monkeypatch.setattr(Launch, "clean_up", clean_up_late)
    return found


async def test_a_scrape_does_not_wait_for_an_engine_that_is_busy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "MAX_WAIT_SECONDS", 3600.0)
    served = await serve("lstm")
    async with EngineGate(served):
        assert await asyncio.to_thread(scraped_steps, served) == 0


def registry_with_one() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("one", "text", registry=registry).inc()
    return registry


def one(scraped: ScrapedRegistry) -> float:
    return next(s.value for metric in scraped.collect() for s in metric.samples if s.name == "one_total")


def test_a_scrape_has_what_there_is_where_the_engine_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "MAX_WAIT_SECONDS", 0.01)
    assert one(ScrapedRegistry(registry_with_one(), lambda _: None)) == 1
