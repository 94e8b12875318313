"""Whatever `pack` takes, it takes for what it is; all else it refuses. Never a wrong model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from any_network import AnyNetwork, Plan, plans
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from recurrent_cases import CPU, assert_near, pack
from safetensors.torch import save_model

from elman_models import GraphSpec, GraphStack, PackedInputs, Stack, WeightsError, infer_spec, read_state_dict

SAVES: dict[str, Callable[[AnyNetwork, Path], None]] = {
    ".pt": lambda network, file: torch.save(network.state_dict(), file),
    ".pth": lambda network, file: torch.save({"net": network.state_dict(), "epoch": 3}, file),
    ".bin": lambda network, file: torch.save(dict(sorted(network.state_dict().items())), file),
    ".safetensors": lambda network, file: save_model(network, str(file)),
}


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(plan=plans(), suffix=st.sampled_from(sorted(SAVES)), is_late=st.booleans())
def test_whatever_is_packed_gives_what_the_module_gives(plan: Plan, suffix: str, is_late: bool, tmp_path: Path) -> None:
    network, file = AnyNetwork(plan, is_late), tmp_path / f"w{suffix}"
    SAVES[suffix](network, file)
    # Nothing stands between its layers. Of a residual beside several of them nothing is said here, so none is claimed.
    activation = "none" if len(plan.after) > 1 and not plan.skip else None
    try:
        spec, weights = infer_spec(
            read_state_dict(file), name="m", nonlinearity=nonlinearity(plan), activation=activation
        )
    except WeightsError:
        event("refused")
        return
    sequence = network.random_input(5)
    if isinstance(spec, GraphSpec):
        event("packed as a graph")
        graph = GraphStack(spec, weights, CPU)
        inputs = PackedInputs((sequence,), np.ones(5, np.int64))
        assert_near(graph.step(inputs, graph.initial_state(1))[0]["output"], network(sequence))
        return
    event("packed")
    stack = Stack(spec, weights, CPU)
    assert spec.input_features == tuple(sequence.shape[1:])
    assert_near(stack.step(pack([sequence]), stack.initial_state(1))[0], network(sequence))


def nonlinearity(plan: Plan) -> str | None:
    return "tanh" if plan.stacks[0][0] is torch.nn.RNN else None
