"""Errors as real clients see them: the codes and phrases that Triton's users know."""

import json
from pathlib import Path
from typing import Any

import pytest
from client_venvs import ClientVenv

CLIENTS = Path(__file__).parent / "clients"
START = "must specify the START flag on the first request of the sequence"
CASES = {
    "unknown model": ("NOT_FOUND", "Request for unknown model: 'nothing'"),
    "unknown version": ("NOT_FOUND", "Request for unknown model"),
    "unknown sequence": ("INVALID_ARGUMENT", f"inference request for sequence 404 to model 'gru' {START}"),
    "unknown string sequence": ("INVALID_ARGUMENT", f"inference request for sequence never to model 'gru' {START}"),
    "ended sequence": ("INVALID_ARGUMENT", START),
    "batch on a sequence": ("INVALID_ARGUMENT", "must specify batch-size 1 due to requirements of sequence batcher"),
    "dtype": ("INVALID_ARGUMENT", "inference input 'input' data-type is 'INT64', but model 'gru' expects 'FP32'"),
    "float tokens": ("INVALID_ARGUMENT", "data-type is 'FP32', but model 'tokens' expects 'INT64'"),
    "token out of range": ("INVALID_ARGUMENT", "token ids are in [0, 11)"),
    "rank": ("INVALID_ARGUMENT", "unexpected shape for input 'input' for model 'gru'. Expected [-1,-1,3], got [4,3]"),
    "width": ("INVALID_ARGUMENT", "Expected [-1,-1,3], got [4,1,7]"),
    "no steps": ("INVALID_ARGUMENT", "Expected [-1,-1,3], got [0,1,3]"),
    "size": ("INVALID_ARGUMENT", "unexpected total byte size 47 for input 'input' for model 'gru', expecting 48"),
    "missing input": ("INVALID_ARGUMENT", "expected the input 'input', got no inputs"),
    "unknown input": ("INVALID_ARGUMENT", "unexpected inference input 'mask' for model 'gru'"),
    "unknown output": ("INVALID_ARGUMENT", "unexpected inference output 'logits' for model 'gru'"),
    "classification": ("UNIMPLEMENTED", "classification"),
    "not finite": ("INVALID_ARGUMENT", "NaN"),
    "half a state": ("INVALID_ARGUMENT", "expected h_0 and c_0 together"),
    "state of other rows": ("INVALID_ARGUMENT", "'h_0': expected 1 rows"),
    "state in the middle": ("INVALID_ARGUMENT", "sequence_start"),
    "sequence both ways": ("INVALID_ARGUMENT", "bidirectional"),
    "shared memory": ("UNIMPLEMENTED", "shared memory"),
    "shared memory status": ("UNIMPLEMENTED", "shared memory"),
    "device shared memory": ("UNIMPLEMENTED", "shared memory"),
    "trace settings": ("UNIMPLEMENTED", "tracing"),
    "log settings": ("UNIMPLEMENTED", "log settings"),
    "load with a config": ("UNIMPLEMENTED", "config"),
    "load unknown": ("NOT_FOUND", "Request for unknown model"),
    "unload unknown": ("NOT_FOUND", "Request for unknown model"),
    "config of unknown": ("NOT_FOUND", "Request for unknown model"),
    "statistics of unknown": ("NOT_FOUND", "Request for unknown model"),
    "stream, first": ("None", START),
    "stream, then": ("OK", ""),
    "ending stream, first": ("INVALID_ARGUMENT", START),
    "ending stream, then": ("ENDED", "no longer in valid state"),
}


@pytest.fixture(scope="module")
def told(triton: ClientVenv, address: str) -> Any:
    """Code and message of every case."""
    return json.loads(triton.run(CLIENTS / "triton_errors.py", address))


def test_every_case_is_looked_at(told: Any) -> None:
    assert set(told) == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_code_and_the_phrase_are_known(told: Any, case: str) -> None:
    code, phrase = CASES[case]
    assert told[case][0] == code
    assert phrase in told[case][1]
