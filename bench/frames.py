"""One client, many sessions, one step of each per frame: what the wire leaves of the engine's own throughput."""

from dataclasses import dataclass
from pathlib import Path

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.engine_alone import EngineAlone
from bench.kernel import Kernel
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.sdk_client import SdkLoad, pool
from bench.serving import Served, serve
from elman_server.loadgen.generator import run_loop
from elman_server.loadgen.load import Load

BARS = {"float32": 0.8, "bfloat16": 0.6}


@dataclass(frozen=True)
class Round:
    """Session-steps a second."""

    engine: float
    kernel: float
    two: float
    one: float
    sdk: float
    compute_seconds_per_row: float
    server_cpu_seconds_per_row: float


def measure(effort: Effort, folder: Path, precision: str = "float32") -> Result:
    """Engine, kernel, two frames in flight, one, and the SDK's pool with two, in turn."""
    models = write_model(folder, effort, precision)
    with serve(models) as served, clients() as own:
        kernel = Kernel(models, effort.sessions)
        engine = EngineAlone(kernel.stack, effort.sessions)
        found = [_round(effort, kernel, engine, served, own) for _ in rounds(f"frames, {precision}", effort.rounds)]
    return Result(
        name=f"frames, {precision}",
        bars=(
            Bar(
                f"two frames of {effort.sessions} sessions in flight over the engine alone ({precision})",
                median(found, lambda r: r.two / r.engine),
                BARS[precision],
                at_most=False,
            ),
        ),
        figures=_figures(found),
    )


def measure_bfloat16(effort: Effort, folder: Path) -> Result:
    """As `measure`, in bfloat16."""
    return measure(effort, folder, "bfloat16")


def _round(effort: Effort, kernel: Kernel, engine: EngineAlone, served: Served, own: Clients) -> Round:
    engine_alone = engine.run(effort.seconds)
    kernel_alone = kernel.run(effort.sessions, effort.seconds)
    loads = [
        Load(
            served.address,
            NAME,
            sessions=effort.sessions,
            in_flight=in_flight,
            warm_up_seconds=effort.warm_up_seconds,
            seconds=effort.seconds,
        )
        for in_flight in (2, 1)
    ]
    two, one = (own.run(load, served.probe) for load in loads)
    sdk = own.start(step_pool, sdk_load(effort, served.address)).result()
    server = two.server
    return Round(
        engine_alone,
        kernel_alone.rows_per_second,
        two.goodput,
        one.goodput,
        sdk,
        server.compute_seconds / max(server.steps, 1),
        server.cpu_seconds / max(server.steps, 1),
    )


def sdk_load(effort: Effort, address: str) -> SdkLoad:
    """That of all who compare clients of the SDK."""
    return SdkLoad(address, NAME, effort.sessions, effort.input_size, effort.warm_up_seconds, effort.seconds)


def _figures(found: list[Round]) -> tuple[Figure, ...]:
    return (
        Figure("engine alone", median(found, lambda r: r.engine), "session-steps/s"),
        Figure("kernel alone, its states read and written", median(found, lambda r: r.kernel), "session-steps/s"),
        Figure("two frames in flight", median(found, lambda r: r.two), "session-steps/s"),
        Figure("one frame in flight", median(found, lambda r: r.one), "session-steps/s"),
        Figure("one frame in flight, over the engine alone", median(found, lambda r: r.one / r.engine)),
        Figure("two frames in flight, over the kernel alone", median(found, lambda r: r.two / r.kernel)),
        Figure("SDK pool, two in flight", median(found, lambda r: r.sdk), "session-steps/s"),
        Figure("SDK pool, two in flight, over the engine alone", median(found, lambda r: r.sdk / r.engine)),
        Figure("server's compute_seconds", median(found, lambda r: r.compute_seconds_per_row * 1e6), "us/session-step"),
        Figure(
            "server's processor time", median(found, lambda r: r.server_cpu_seconds_per_row * 1e6), "us/session-step"
        ),
    )


def step_pool(load: SdkLoad) -> float:
    """The SDK's pool of sessions with two steps under way; session-steps a second. Runs in a client process."""
    return run_loop(pool(load))
