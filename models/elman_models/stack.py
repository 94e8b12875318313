"""Room 6, model: embedding, recurrent stack, head; one signature, `step(input, state) -> (output, state)`."""

from collections.abc import Mapping

import torch
from torch import nn

from elman_models.hand_off import linear_maps
from elman_models.packed import Packed
from elman_models.plans.cache import PlanCache
from elman_models.plans.candidates import default_plan
from elman_models.plans.overrides import Overrides
from elman_models.plans.prepare import Measuring, prepare
from elman_models.plans.table import PlanTable
from elman_models.plans.warm_up import Progress
from elman_models.recurrent_module import recurrent_module
from elman_models.spec import ModelSpec
from elman_models.state import State
from elman_models.weights import as_float32


class Stack:
    """A model ready to run: its weights on one device, the recurrent ones flattened."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """Copies `weights`: tensors by the names of `ModelSpec.parameter_shapes`, cast to float32.

        Raises:
            WeightsError: the weights are not the spec's, or not finite.
        """
        weights = as_float32(spec, weights, "weights")
        self.spec = spec
        self.device = device
        self.rnn = recurrent_module(spec)
        self.rnn.load_state_dict({k.removeprefix("rnn."): v for k, v in weights.items() if k.startswith("rnn.")})
        self.rnn.to(device)
        if device.type == "cuda":
            # Else cuDNN rounds float32 products to 10 bits (TF32), and nothing is within 1e-5 any more. Global to the
            # process, as torch has it.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.rnn.flatten_parameters()  # one storage, which cuDNN needs; nothing on CPU
        self._embedding = _to(weights.get("embedding.weight"), device)  # [num_embeddings, input_size]
        self._head_weight = _to(weights.get("head.weight"), device)  # [out_features, stack_output_size]
        self._head_bias = _to(weights.get("head.bias"), device)  # [out_features]
        self.hand_off = linear_maps(spec.hand_off, weights, device)
        """By the states that they make of another model's."""
        self.plans = PlanTable.of_one(default_plan(self.rnn))
        """Which plan runs a batch: the module itself, until `warm_up`."""
        self.fingerprint = ""
        """Of the bundle that it was loaded from (`fingerprint.py`); empty: of none."""
        self.plan_name = ""
        """The plan of the latest step."""
        self.num_computed = 0
        """Time steps, over all rows, that it computed."""

    @property
    def weights_bytes(self) -> int:
        """Bytes of all parameters."""
        own = (self._embedding, self._head_weight, self._head_bias)
        handed = sum(one.num_bytes for one in self.hand_off.values())
        return sum(t.nbytes for t in (*self.rnn.parameters(), *own) if t is not None) + handed

    def initial_state(self, batch: int) -> State:
        """The state of `batch` sequences before their first step: zeros, as in `torch.nn`."""
        return State.zeros(self.spec, batch, self.device)

    @torch.inference_mode()
    def warm_up(
        self,
        progress: Progress | None = None,
        *,
        cache: PlanCache | None = None,
        budget_seconds: float = 12.0,
        overrides: Overrides | None = None,
    ) -> None:
        """Fills `plans` by measuring, on the calling thread; seconds, or a moment if `cache` has the table.

        Args:
            progress: called before each shape: shapes done, shapes in all, the shape's name.
            cache: where tables are kept; None: measure anew, keep nothing.
            budget_seconds: after which no further shape is measured; 0: none is.
            overrides: one plan's name for everything, or names by shape.

        Raises:
            ValueError: an override that names no shape, or no plan that could run it.
        """
        self.plans = prepare(
            self.spec, self.rnn, budget_seconds=budget_seconds, progress=progress, cache=cache, overrides=overrides
        )

    def measured(self, how: Measuring, *, budget_seconds: float, overrides: Overrides | None = None) -> PlanTable:
        """As `warm_up`, but measured as `how` says, and given instead of taken: whoever steps the stack puts it into
        `plans`, between two steps.

        Raises:
            ValueError: as `warm_up`.
        """
        return prepare(self.spec, self.rnn, budget_seconds=budget_seconds, overrides=overrides, **vars(how))

    def take(self, plans: PlanTable) -> None:
        """Takes a table that was measured, between two steps."""
        self.plans = plans

    def step(self, input: Packed, state: State, *, last_only: bool = False) -> tuple[torch.Tensor, State]:
        """Advances every row by its part of `input`.

        Args:
            input: data [N, *input_features], on the stack's device: float32, or int64 ids in [0, num_embeddings),
                which the caller has checked (on CUDA an id out of range ends the process's use of the device).
            state: of the rows, in the input's order, float32, on the stack's device; it is not written to.
            last_only: the head is run on each row's last step alone.

        Returns:
            output [N, output_size] float32 in the packed layout, or of the last steps [K, output_size], and the state
            after each row's last step.
        """
        if torch.is_inference_mode_enabled():  # as the engine's thread is: that costs nothing, entering 4 us
            return self._step(input, state, last_only)
        with torch.inference_mode():
            return self._step(input, state, last_only)

    def _step(self, input: Packed, state: State, last_only: bool) -> tuple[torch.Tensor, State]:
        plan = self.plans.choose(input.batch_sizes)
        self.plan_name = plan.name
        if self._embedding is not None:
            input = input._replace(data=nn.functional.embedding(input.data, self._embedding))
        output, state = plan.run(input, state)
        self.num_computed = output.shape[0]
        if last_only:
            output = input.last_steps(output)
        return self._project(output), state

    def _project(self, output: torch.Tensor) -> torch.Tensor:
        if self._head_weight is None:
            return output
        return nn.functional.linear(output, self._head_weight, self._head_bias)


def _to(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    # A copy even on the CPU: whoever made the weights may write to them, a loaded model is immutable.
    return None if tensor is None else tensor.to(device, copy=True).contiguous()
