"""A server on loopback whose clock and engine a test holds in its hands, with connections to it, on one event loop."""

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from engine_stepper import EngineStepper
from failing import Failing
from served import DOOR, LOOPBACK, OPTIONS, Served
from stepped_engine import FakeClock
from toys import CPU

from elman_server.config.server_config import Limits, ServerConfig
from elman_server.door.native.row_columns import warm_up_columns
from elman_server.engine.jit_warm_up import warm_up_jit
from elman_server.server import Server

T = TypeVar("T")

GUARD_SECONDS = 120.0
"""No wait is that long, but where something is broken."""
NUM_CONNECTIONS = 2


class HeldServer:
    """Between two calls of `do` the loop stands, and the engine too, but for `EngineStepper.let_go`."""

    engine_stepper: EngineStepper
    clock: FakeClock
    failing: dict[str, Failing]
    """The models' stacks, by name."""

    def __init__(self, models: Path, plans: str | dict[str, str], limits: Limits) -> None:
        self._config = ServerConfig(
            models=models,
            listen=LOOPBACK,
            door=DOOR,
            metrics_listen=LOOPBACK,
            warm_up_seconds=0,
            drain_seconds=2,  # what is not answered by then never is
            cache=None,
            plans=plans,
            limits=limits,
        )
        warm_up_jit()  # in no wait: where nothing is compiled yet and the machine is busy it takes minutes
        warm_up_columns()
        self.failure: Exception | None = None
        """The latest that an example met."""
        self._runner = asyncio.Runner()
        self._connections: list[Served] = []
        self._num_examples = 0
        self._is_clean = False

    def do(self, awaitable: Awaitable[T]) -> T:
        """What it gives, in reasonable time."""
        return self._runner.run(asyncio.wait_for(awaitable, GUARD_SECONDS))

    def begin_example(self) -> str:
        """A prefix of session ids that no example had before, on a server that none left with anything begun."""
        if not self._is_clean:
            self._end_server()
            self.do(self._start())
        self._is_clean = False
        self._num_examples += 1
        return f"example-{self._num_examples}/"

    def end_example(self) -> None:
        """All is as it was before the example."""
        self._is_clean = True

    def connection(self, number: int) -> Served:
        """One of several connections to the server."""
        return self._connections[number % NUM_CONNECTIONS]

    def plans_that_ran(self) -> set[str]:
        """By the server's metrics."""
        metrics = self._connections[0].server.metrics.registry.collect()
        samples = [sample for metric in metrics for sample in metric.samples]
        return {s.labels["plan"] for s in samples if s.name == "elman_plan_launches_total" and s.value}

    def end(self) -> None:
        """Stops the server."""
        self._end_server()
        self._runner.close()

    async def _start(self) -> None:
        self.clock = FakeClock()
        server = Server(self._config, CPU, self.clock)
        await server.start()
        self._connections = [
            Served(server, grpc.aio.insecure_channel(server.address, (*OPTIONS, ("grpc.use_local_subchannel_pool", 1))))
            for _ in range(NUM_CONNECTIONS)
        ]
        server.door.engine.periodic_jobs.jobs.clear()  # they are done when a test says so
        self.failing = {runtime.spec.name: Failing.put_into(runtime) for runtime in server.catalogue.runtimes()}
        self.engine_stepper = EngineStepper(server.door.engine)
        await self.engine_stepper.take()

    def _end_server(self) -> None:
        connections, self._connections = self._connections, []
        if connections:
            self.do(self._stop(connections))

    async def _stop(self, connections: Sequence[Served]) -> None:
        server = connections[0].server
        engine = server.door.engine
        if not self._is_clean:  # whatever is wrong there, it is not waited for
            engine.stop = lambda: setattr(engine, "_stopping", True)  # type: ignore[method-assign]
        self.engine_stepper.let_go()
        for connection in connections:
            await connection.channel.close()
        await server.stop()
