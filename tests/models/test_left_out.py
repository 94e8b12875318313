"""A precision that the processor has no instructions for: never computed wrongly, never dropped without a word."""

import logging
import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch
from plan_cases import make_factory
from recurrent_cases import make_model, make_spec

from elman_models.plans import candidates, left_out, processor
from elman_models.plans.int8_affine import product

PLAIN = {
    "bfloat16": "precision bfloat16 is not used on this processor: plans fused_bfloat16 and onednn_lstm_bfloat16 are "
    "left out, since oneDNN needs AVX-512 (or AVX-NE-CONVERT) for it, which the processor lacks or is told not to use; "
    "the model runs in float32",
    "int8": "precision int8 is not used on this processor: plan fused_int8 is left out, since oneDNN needs AVX-512 "
    "VNNI for it, which the processor lacks or is told not to use; the model runs in float32",
}


def lacking(monkeypatch: pytest.MonkeyPatch, *precisions: str) -> None:
    for module in (candidates, left_out):
        for precision in ("bfloat16", "int8"):
            monkeypatch.setattr(module, f"has_{precision}", lambda has=precision not in precisions: has)


@pytest.mark.parametrize(
    ("fields", "lacks", "said"),
    [
        ({"precision": "float32"}, ("bfloat16", "int8"), []),
        ({"precision": "bfloat16"}, ("int8",), []),
        ({"precision": "bfloat16"}, ("bfloat16",), [PLAIN["bfloat16"]]),
        ({"precision": "int8"}, ("bfloat16", "int8"), [PLAIN["bfloat16"], PLAIN["int8"]]),
        ({"precision": "int8"}, ("int8",), [f"{PLAIN['int8']} or bfloat16"]),
        ({"precision": "int8"}, (), []),
        (
            {"precision": "float16"},
            (),
            ["precision float16 is not used on a CPU, only on CUDA; the model runs in float32"],
        ),
        (
            {"precision": "bfloat16", "bidirectional": True},
            (),
            ["precision bfloat16 is not used for a bidirectional model on a CPU; it runs in float32"],
        ),
    ],
    ids=str,
)
def test_what_is_left_out_is_said_as_a_model_is_prepared(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    lacks: tuple[str, ...],
    said: list[str],
) -> None:
    lacking(monkeypatch, *lacks)
    _, stack = make_model(make_spec("lstm", **fields))
    with caplog.at_level(logging.WARNING):
        stack.warm_up(budget_seconds=0.0)
    assert [record.getMessage() for record in caplog.records] == [f"model m: {sentence}" for sentence in said]


def test_only_plans_that_the_model_could_have_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, "bfloat16")
    (said,) = left_out.left_out(make_spec("gru", precision="bfloat16"))
    assert "plan fused_bfloat16 is left out" in said


@pytest.mark.parametrize("owner_and_name", [(torch.cpu, "_is_vnni_supported"), (torch, "_int_mm")], ids=str)
def test_a_private_of_torch_that_is_gone_breaks_no_list_of_candidates(
    monkeypatch: pytest.MonkeyPatch, owner_and_name: tuple[Any, str]
) -> None:
    monkeypatch.delattr(*owner_and_name)
    assert processor.has_int8() is (owner_and_name[0] is torch.cpu and processor.is_exact_int8())
    names = list(make_factory(make_model(make_spec("gru", precision="int8"))[1]).candidates)
    assert names[0] == "native"
    assert ("fused_int8" in names) is processor.has_int8()


def test_products_that_are_cut_off_are_no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(processor, "product", lambda x, weight: product(x, weight).clamp(max=32767))
    assert not processor.has_int8()


IN_AVX2 = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import torch
from elman_models import ModelSpec, Stack

spec = ModelSpec(name="m", cell="lstm", input_size=3, hidden_size=4, precision="int8")
stack = Stack(spec, {n: torch.ones(s) for n, s in spec.parameter_shapes().items()}, torch.device("cpu"))
stack.warm_up(budget_seconds=0.2)
print("plans", *stack.plans.names)
"""


@pytest.mark.hardware
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86 processors")
def test_with_avx2_alone_a_model_of_lower_precision_is_served_in_float32_and_the_log_says_why() -> None:
    told = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", IN_AVX2], check=True, capture_output=True, text=True, env=told)
    *said, plans = done.stdout.splitlines()
    assert said == [f"model m: {PLAIN[precision]}" for precision in ("bfloat16", "int8")]
    assert not any(precision in plans for precision in ("bfloat16", "int8"))
