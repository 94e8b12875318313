"""Step forms: what single steps of sequences have in common that differ in their sequence, id and data."""

from dataclasses import dataclass, replace

from elman_server.door.oip.inference import Inference
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.targets import Target
from elman_server.door.oip.write import write_head
from elman_server.exchange.frames import Want


@dataclass(frozen=True, slots=True, eq=False)
class StepForm:
    """Of one model with one input and one output."""

    target: Target
    version: str
    """As asked for; empty: any."""
    want: Want
    head: bytes
    """What all answers begin with."""
    num_bytes: int
    """Of the input."""

    @classmethod
    def of(cls, request: ModelInferRequest, inference: Inference) -> "StepForm | None":
        """That of a request that was found good; None where it is no single step of plain tensors."""
        frame, raws, target = inference.frame, request.raw_input_contents, inference.target
        is_single = frame.num_rows == frame.num_steps == len(raws) == 1 and len(raws[0]) == frame.num_bytes
        is_plain = frame.view.input.is_plain and frame.view.output.is_plain
        if not (is_single and is_plain) or frame.want is Want.NONE or frame.want_state:
            return None
        return cls(target, inference.version, frame.want, write_head(target), frame.num_bytes)

    def on(self, target: Target) -> "StepForm":
        """The same on another version of the model."""
        return replace(self, target=target, head=write_head(target))
