"""Configuration: frozen, one class per component, read in one place from arguments, environment and file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from elman_server.listen import Address, AddressField

Count = Annotated[int, Field(ge=1, le=1 << 31)]
Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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
    replay_chunks: Annotated[int, Field(ge=0, le=64)] = 8
    """A session's last chunks whose answers are held for a caller that asks again."""
    replay_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 64 << 20
    """Bytes of all held answers, per model version."""
    refuse_non_finite: bool = True
    """Whether input that is NaN or infinite is refused."""


class ServerConfig(_Frozen):
    """One server process."""

    models: Path
    """A folder of bundles, or one bundle."""
    listen: AddressField = Address("127.0.0.1", 8470)
    """HOST:PORT of gRPC; port 0 takes a free one."""
    metrics_listen: AddressField = Address("127.0.0.1", 9470)
    """HOST:PORT of Prometheus text at /metrics; port 0 takes a free one."""
    door: Literal["auto", "native", "plain"] = "auto"
    """Which gRPC server takes the calls: native (elman-native, in C++), plain (grpc.aio); auto takes native where it is
    installed."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")] = "auto"
    """auto, cpu, cuda or cuda:N; auto takes CUDA where there is one."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """torch's threads within one operation; none: one less than torch takes by itself: a core for the wire."""
    warm_up_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 12.0
    """Longest time to measure which plan runs which batch of a model best; 0: not at all."""
    cache: Path | None = Path("~/.cache/elman")
    """Folder where measured plan tables are kept; none: nowhere."""
    plans: str | dict[str, str] | None = None
    """One plan's name for every batch; in a file also names by shape, as `elman-server plans` shows them."""
    drain_seconds: Seconds = 30.0
    """At a stop, the longest time for what was admitted to be answered."""
    oip_strict_order: bool = False
    """On the Open Inference Protocol's streams: answers in the order of all requests, not only of each sequence's."""
    limits: Limits = Limits()
    """Bounds of rows, bytes, sessions and times."""
