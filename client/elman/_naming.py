"""What clients, models, sessions and pools say they are; nothing is asked of the server for it."""

from __future__ import annotations

from elman._context import Context
from elman._pool_core import PoolCore
from elman._session_core import SessionCore
from elman._shared.info import ModelInfo


def client_repr(kind: str, context: Context) -> str:
    """Such as <elman.Client localhost:8470, open>."""
    transport = context.transport
    return f"<elman.{kind} {transport.target.address}, {'closed' if transport.is_closed else 'open'}>"


def model_repr(kind: str, context: Context, info: ModelInfo) -> str:
    """Such as <elman.Model 'char-lm' version '1' at localhost:8470: lstm, 2 layers of 512>."""
    layers = f"{info.num_layers} layer{'s' * (info.num_layers > 1)} of {info.hidden_size}"
    ways = ", bidirectional" * info.bidirectional
    return f"<elman.{kind} {_of(info)} at {context.transport.target.address}: {info.cell}, {layers}{ways}>"


def session_repr(kind: str, core: SessionCore) -> str:
    """Such as <elman.Session 'user-42' on model 'char-lm' version '1' at localhost:8470, position 17, open>."""
    where = f"on model {_of(core.info)} at {core.context.transport.target.address}"
    return f"<elman.{kind} {core.id!r} {where}, position {core.position}, {_state(core)}>"


def pool_repr(kind: str, core: PoolCore) -> str:
    """Such as <elman.SessionPool of 256 on model 'char-lm' version '1' at localhost:8470, positions 0 to 17, open>."""
    where = f"on model {_of(core.info)} at {core.context.transport.target.address}"
    least, most = min(core.positions), max(core.positions)
    positions = f"position {least}" if least == most else f"positions {least} to {most}"
    return f"<elman.{kind} of {len(core.ids)} {where}, {positions}, {_state(core)}>"


def _of(info: ModelInfo) -> str:
    return f"{info.name!r} version {info.version!r}"


def _state(core: SessionCore | PoolCore) -> str:
    return "closed" if core.is_closed or core.context.transport.is_closed else "open"
