"""The README's table of what is served and the tables of networks that the tests pack and serve say the same."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from module_networks import SEQUENCES, STEPS
from packed_networks import Networks, name_of
from refused_networks import REFUSED

from elman_models import GraphSpec

ROOT = Path(__file__).parents[2]
SHOWN: dict[str, Sequence[str]] = {
    "RNN, LSTM, GRU, bare": ["a bare rnn", "a bare lstm"],
    "between an embedding and a head": ["char lstm", "char gru given its state", "one sentence"],
    "language models with tied weights": ["tied language model", "tied language model, projected"],
    "several linears and activations": ["actor critic", "noise suppression", "noise suppression by a mask"],
    "LayerNorm, RMSNorm": ["residual layer norm", "residual rms norm"],
    "batch norm": ["batch norm, flat", "batch norm, transposed"],
    "weight norm": ["weight norm", "spectral norm"],
    "residuals": ["residual layer norm", "residual rms norm"],
    "a learned `h_0`": ["learned start", "learned start of two layers", "forecaster with a learned start"],
    "mixture densities": ["mixture density", "mixture density of points"],
    "gates of one's own": ["gates and parts"],
    "several stacks of different sizes": ["noise suppression", "actor critic of two", "noise suppression by a mask"],
    "actor and critic": ["actor critic", "actor critic of two", "continuous control"],
    "the best k of all items": ["recommender", "recommender of five"],
    "ids and floats together": ["deepar lstm", "deepar gru"],
    "`einsum` as a linear layer": ["einsums"],
    "words and their letters": ["letters and words", "letters convolved"],
    "what was answered and what is asked next": ["knowledge tracing", "knowledge tracing of questions"],
    "forecasters with scaling": ["scaled forecaster", "scaled forecaster by h_n", "forecaster with a learned start"],
    "a hidden state that `forward` takes and gives": [
        "tied language model",
        "char gru given its state",
        "tied language model, projected",
    ],
    "a speaker or a series that stays the same": ["speaker added", "speaker beside"],
    "convolutions over each frame, in front": ["frames", "frames and what was done"],
    "convolutions that are causal over time": [
        "voice activity, padded",
        "voice activity, chopped",
        "weight norm",
        "wake word as it is said",
    ],
    "cells in a loop": [
        "cells in a nested state",
        "a gru cell alone",
        "an lstm cell alone",
        "a cell of every kind",
        "two plain cells",
    ],
    "recurrences of one's own: linears, minGRU": [
        "a cell of linear layers",
        "minimal gru",
        "minimal gru of two layers",
    ],
    "sLSTM": ["slstm", "slstm of two heads"],
    "a GRU with LayerNorm inside": ["gru with layer norm inside", "gru of a world model"],
    "a selective scan": ["selective scan", "selective scan by heads"],
    "frames of voice by a step": ["voice activity by frames", "its state clamped"],
    "decoders with attention over a memory": [
        "decoder with attention",
        "decoder with its context fed back",
        "decoder with its context fed back, of one memory",
    ],
    "bidirectional stacks": ["bilstm tagger", "bigru tagger"],
    "attention over all steps": [
        "attention pooling",
        "attention pooling by bmm",
        "self-attention",
        "multi-head attention",
    ],
    "pooling over time": ["mean over time", "max over time", "both directions' ends"],
    "convolutions that look ahead": ["deep speech", "keyword crnn", "wake word"],
    "autoencoders": ["autoencoder", "autoencoder with a bottleneck", "autoencoder that narrows"],
    "encoder and decoder in one": ["encoder and decoder", "encoder and decoder of words"],
    "a state computed from context": ["gru conditioned", "lstm conditioned"],
    "speech to text": ["deep speech", "deep speech, clipped"],
    "images of text": ["text reader", "text reader that pools"],
    "keywords": ["keyword crnn", "keyword by groups", "wake word"],
    "activities": ["human activity", "human activity by sensor"],
    "electrocardiograms": ["electrocardiogram", "electrocardiogram, beat by beat"],
}
"""The networks that show each kind which the README says is packed from a module."""
FILES = {
    "files of ONNX": "test_from_onnx.py",
    "files of Keras": "test_from_keras.py",
    "files of `torch.export.save`": "test_from_pt2.py",
}
"""The tests of tests/models that show each kind of file."""
NOT_SERVED: dict[str, Sequence[str]] = {
    "rows of a batch that see each other": [
        "mean over the batch",
        "softmax over the batch",
        "rolled batch",
        "flipped batch",
        "one row of the batch",
        "a division by the batch",
        "batch norm in training",
        "time viewed as batch",
    ],
    "positions within a sequence": ["positions", "a division by the length", "a table of positions"],
    "random numbers": ["noise", "dropout that is always on"],
    "a branch on data": ["a branch on data"],
    "steps that are picked or shifted": [
        "a middle step",
        "differences of neighbours",
        "sorted",
        "rows by number",
        "steps by number",
    ],
    "a mask": ["a mask"],
    "another number of steps out than in (strides over time)": ["a strided convolution"],
    "causal attention": ["causal attention", "causal attention by hand"],
    "`einsum` other than as a linear layer": ["einsum of two values", "einsum that is a product", "einsum over time"],
}
"""The networks that show that each kind is refused (tests/models/test_pack_modules.py)."""
SERVED: dict[str, Callable[[GraphSpec], bool]] = {
    "sessions and `infer`": lambda spec: spec.keeps_sessions,
    "`infer` alone, rows of equal length together": lambda spec: spec.kind == "whole",
    "several inputs or outputs by name": lambda spec: len(spec.inputs) > 1 or len(spec.outputs) > 1,
    "as context of the session": lambda spec: bool(spec.context),
    "the last inputs are state": lambda spec: any(state.name.endswith("cache") for state in spec.states),
}
"""What the README says of how a kind is served, of the bundle."""


def rows_of_the_readme() -> list[tuple[list[str], str, str]]:
    """Kinds of network, how they come in, and how they are served."""
    _, _, table = (ROOT / "README.md").read_text().partition("| what people train |")
    lines = table.partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(kinds.split("; "), way, served) for kinds, way, served in cells]


ROWS = rows_of_the_readme()
PACKED = [(kind, way, served) for kinds, way, served in ROWS for kind in kinds if "module" in way or "step" in way]


def test_every_kind_that_the_readme_names_is_shown_by_a_network_that_is_served_or_by_one_that_is_refused() -> None:
    named = [kind for kinds, _, _ in ROWS for kind in kinds]
    assert sorted(named) == sorted([*SHOWN, *FILES, *NOT_SERVED])
    assert {kind for kinds, way, _ in ROWS if "refused" in way for kind in kinds} == set(NOT_SERVED)
    for tests in FILES.values():
        assert (ROOT / "tests" / "models" / tests).is_file()


def test_every_network_of_the_tests_is_of_a_kind_that_the_readme_names() -> None:
    assert {network for shown in SHOWN.values() for network in shown} == {*SEQUENCES, *STEPS}
    # What is refused with what to do instead:
    why_else = {"instance norm", "a loop", "packed inside", "a module that fails", "heads as rows", "a fixed batch"}
    assert {network for shown in NOT_SERVED.values() for network in shown} == {*REFUSED} - why_else


@pytest.mark.parametrize(("kind", "way", "served"), PACKED, ids=[kind for kind, *_ in PACKED])
def test_a_kind_comes_in_and_is_served_as_the_readme_says(
    every_network: Networks, kind: str, way: str, served: str
) -> None:
    said = [holds for text, holds in SERVED.items() if text in served]
    assert said, served
    for network in SHOWN[kind]:
        assert network in (STEPS if "pack_step" in way else SEQUENCES)
        spec = every_network.cases[name_of(network)].packed.spec
        assert all(holds(spec) for holds in said), f"{network}: {served}"
