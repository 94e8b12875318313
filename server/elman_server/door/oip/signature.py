"""A model's signature: its tensors as this surface names them."""

from dataclasses import dataclass

from elman_models.spec import ModelSpec

ANY = -1
"""A dimension of any size."""

STEPS, ROWS = 0, 1
"""Where T and B stand in `input` and `output`; B stands second in the states, too."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: `shape` has -1 for T and B."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape may be this one: B, the second dimension, is always of any size."""
        mine = self.shape
        if len(shape) != len(mine) or min(shape) < 1:
            return False
        return (mine[0] == ANY or mine[0] == shape[0]) and shape[2:] == mine[2:]


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes in and what comes out."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @classmethod
    def of(cls, spec: ModelSpec) -> "Signature":
        """The signature of a spec."""
        datatype = "INT64" if spec.embedding else "FP32"
        widths = {"h": spec.state_size} | ({"c": spec.hidden_size} if spec.has_cell_state else {})
        states = [(name, (spec.state_layers, ANY, width)) for name, width in widths.items()]
        inputs = [
            TensorSpec("input", datatype, (ANY, ANY, *spec.input_features)),
            *(TensorSpec(f"{name}_0", "FP32", shape, optional=True) for name, shape in states),
        ]
        outputs = [
            TensorSpec("output", "FP32", (ANY, ANY, spec.output_size)),
            *(TensorSpec(f"{name}_n", "FP32", shape) for name, shape in states),
        ]
        return cls({tensor.name: tensor for tensor in inputs}, {tensor.name: tensor for tensor in outputs})
