"""The plan that runs onnxruntime's LSTM, GRU and RNN kernels; they pack their weights once. An optional extra."""

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
        self._ends = [one.name for one in self._session.get_outputs()]

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        # Reshaped as arrays: views of tensors cost several times as much.
        feed = {"x": input.data.numpy().reshape(input.seq_len, input.num_rows, -1), "h": state.h.numpy()}
        if state.c is not None:
            feed["c"] = state.c.numpy()
        y, *h_c = self._session.run(self._ends, feed)
        output = torch.from_numpy(y.reshape(len(y) * input.num_rows, -1))
        h, *c = map(torch.from_numpy, h_c)
        return output, State(h, c[0] if c else None)


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
