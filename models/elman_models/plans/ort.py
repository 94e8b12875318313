"""The plan that runs onnxruntime's LSTM, GRU and RNN kernels; they pack their weights once. An optional extra."""

import numpy as np
import onnxruntime
import torch
from torch import nn

from elman_models.packed import Packed
from elman_models.plans.ort_graph import build_graph
from elman_models.spec import ModelSpec
from elman_models.state import State


class OrtPlan:
    """Equally long rows only. Tensors pass as NumPy views, without copies."""

    def __init__(self, name: str, spec: ModelSpec, rnn: nn.RNNBase) -> None:
        """Copies the weights of `rnn`, on the CPU, into an onnxruntime session; as many threads as torch has now."""
        self.name = name
        self._session = onnxruntime.InferenceSession(
            build_graph(spec, rnn).SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
        )

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        x = input.data.view(input.seq_len, input.num_rows, -1)
        feed = {"x": x.numpy(), "h": state.h.numpy()}
        if state.c is not None:
            feed["c"] = state.c.numpy()
        results: list[np.ndarray] = self._session.run(None, feed)
        y, *h_c = map(torch.from_numpy, results)
        return y.view(len(input.data), -1), State(h_c[0], h_c[1] if len(h_c) > 1 else None)


def session_options() -> onnxruntime.SessionOptions:
    """Of every session: as many threads as torch has now, which wait without spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Its threads would spin between batches and take the cores from torch and gRPC.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # shapes differ from batch to batch
    options.log_severity_level = 3  # errors
    return options
