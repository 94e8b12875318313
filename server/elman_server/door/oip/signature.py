"""A model's signature: its tensors as this surface names them."""

from dataclasses import dataclass

from elman_server.exchange.model_view import I64, ModelView, TensorField

ANY = -1
"""A dimension of any size."""

STEPS, ROWS = 0, 1
"""Where T and B stand in inputs and outputs; B stands second in a stack's states, too."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: `shape` has -1 for T and B."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape may be this one."""
        if len(shape) != len(self.shape) or (shape and min(shape) < 1):
            return False
        return all(mine in (ANY, given) for mine, given in zip(self.shape, shape, strict=True))


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes in and what comes out."""

    inputs: dict[str, TensorSpec]
    """Those of each step, then the context, then what the states begin with."""
    outputs: dict[str, TensorSpec]
    """Those of the model, then what the states end with."""
    steps: tuple[str, ...]
    """The inputs that each step has."""
    context: tuple[str, ...]
    initial: tuple[str, ...]
    """What the states begin with, in the model's order."""
    given: tuple[str, ...]
    """The model's outputs."""

    @classmethod
    def of(cls, view: ModelView) -> "Signature":
        """The signature of a model."""
        steps = [TensorSpec(f.name, _datatype(f), (ANY, ANY, *f.features)) for f in view.input.fields]
        # A sequence's later requests leave its context out.
        context = [
            TensorSpec(f.name, _datatype(f), (ANY, *f.features), optional=not view.needs_whole_sequences)
            for f in view.context
        ]
        outputs = [TensorSpec(f.name, _datatype(f), _output_shape(f)) for f in view.output.fields]
        states = _states(view, {one.name for one in (*steps, *context, *outputs)})
        given = {} if view.computed_starts else states
        begins = [TensorSpec(f"{name}_0", _datatype(f), f.shape(ANY), optional=True) for name, f in given.items()]
        ends = [TensorSpec(f"{name}_n", _datatype(f), f.shape(ANY)) for name, f in states.items()]
        return cls(
            inputs={one.name: one for one in (*steps, *context, *begins)},
            outputs={one.name: one for one in (*outputs, *ends)},
            steps=tuple(one.name for one in steps),
            context=tuple(one.name for one in context),
            initial=tuple(one.name for one in begins),
            given=tuple(one.name for one in outputs),
        )


def _datatype(field: TensorField) -> str:
    return "INT64" if field.dtype == I64 else "FP32"


def _states(view: ModelView, taken: set[str]) -> dict[str, TensorField]:
    # By the names that they go by here; none where one of the model's own tensors has such a name.
    names = ["h", "c"] if view.has_stack_state else [field.name for field in view.states]
    if any(f"{name}{end}" in taken for name in names for end in ("_0", "_n")):
        return {}
    return dict(zip(names, view.states, strict=False))


def _output_shape(field: TensorField) -> tuple[int, ...]:
    return (ANY, *field.features) if field.per_row else (ANY, ANY, *field.features)
