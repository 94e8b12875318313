"""Modules as people write them, packed from the module, and held against it."""

from pathlib import Path

import pytest
import torch
from module_networks import SEQUENCES

from elman_models import load_graph, pack


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_module_is_packed_and_gives_what_it_gives_whole_in_chunks_and_beside_others(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    case = SEQUENCES[name]
    packed = pack(case.make(), case.example(), out=tmp_path / "m", name="m", quiet=True)
    assert packed.spec.kind == case.kind
    assert tuple(output.name for output in packed.spec.outputs) == case.outputs
    assert packed.differences.largest <= 1e-5
    assert (packed.differences.chunks is None) == (case.kind == "whole")
    assert load_graph(tmp_path / "m", torch.device("cpu")).spec == packed.spec
