"""Unmodified clients of Triton and KServe, each in an environment of its own, against a server process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_venvs import ClientVenv
from toys import Array, assert_near, random_input, toy

CLIENTS = Path(__file__).parent / "clients"


def given(rng: np.random.Generator) -> dict[str, Array]:
    """What the scripts send."""
    return {
        "batch": rng.standard_normal((7, 3, 3)).astype(np.float32),
        "h_0": rng.standard_normal((2, 3, 5)).astype(np.float32),
        "c_0": rng.standard_normal((2, 3, 5)).astype(np.float32),
        "tokens": rng.integers(11, size=(6, 2)),
        "half": rng.standard_normal((4, 1, 3)).astype(np.float16),
        "sequence": rng.standard_normal((6, 3)).astype(np.float32),
    }


def run(venv: ClientVenv, script: str, address: str, folder: Path, arrays: dict[str, Array], *more: str) -> Any:
    """The arrays that a script leaves."""
    source, target = folder / "in.npz", folder / "out.npz"
    np.savez(source, **arrays)  # type: ignore[arg-type]
    venv.run(CLIENTS / script, address, *more, source, target)
    return dict(np.load(target))


def whole(model: str, rows: Array) -> Array:
    """torch on each row of [T, B, ...], as a whole: [T, B, output_size]."""
    return np.stack([toy(model).run(rows[:, b])[0] for b in range(rows.shape[1])], axis=1)


@pytest.fixture(scope="session")
def sync(
    triton: ClientVenv, address: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What was sent by synchronous calls, and what came back."""
    arrays = given(np.random.default_rng(1))
    return arrays, run(triton, "triton_sync.py", address, tmp_path_factory.mktemp("sync"), arrays)


def test_a_batch_with_a_state_is_what_torch_gives(sync: Any) -> None:
    arrays, out = sync
    for b in range(3):
        state = tuple(_tensor(arrays[name][:, b]) for name in ("h_0", "c_0"))
        output, h, c = toy("lstm").run(arrays["batch"][:, b], state)
        assert_near(out["batch_output"][:, b], output)
        assert_near(out["batch_h_n"][:, b], h)
        assert_near(out["batch_c_n"][:, b], c)


def test_bidirectional_and_token_models_and_half_precision_inputs_run(sync: Any) -> None:
    arrays, out = sync
    assert_near(out["both_ways"], whole("bi_lstm", arrays["batch"]))
    assert_near(out["tokens"], whole("tokens", arrays["tokens"]))
    assert_near(out["half"], whole("gru", arrays["half"].astype(np.float32)))


def test_only_the_named_outputs_come_back_in_the_order_of_their_naming(sync: Any) -> None:
    arrays, out = sync
    assert out["named"].tolist() == ["c_n", "output"]
    _, _, c = toy("lstm").run(arrays["batch"][:, 0])
    assert_near(out["named_c_n"][:, 0], c)


def test_integer_and_string_ids_are_different_sequences(sync: Any) -> None:
    arrays, out = sync
    want = whole("gru", arrays["sequence"][:, None])
    assert_near(out["integer"], want)
    assert_near(out["string"], want)
    assert_near(out["integer_goes_on"], want[3:])


def test_a_sequence_that_lives_begins_anew_and_one_request_may_be_a_whole_sequence(sync: Any) -> None:
    arrays, out = sync
    want = whole("gru", arrays["sequence"][:, None])
    assert_near(out["begun_anew"], want)
    assert_near(out["one_request"], want)


def test_compressed_requests_and_asynchronous_calls_are_answered_alike(sync: Any) -> None:
    arrays, out = sync
    want = whole("lstm", arrays["batch"])
    assert_near(out["compressed_gzip"], want)
    assert_near(out["compressed_deflate"], want)
    for output in out["async_infer"]:
        assert_near(output, want)


def test_timeout_and_priority_are_accepted_and_our_own_parameters_work(sync: Any) -> None:
    arrays, out = sync
    assert_near(out["timed"], whole("gru", arrays["sequence"][:, None]))
    if "position" in out:
        assert out["position"] == 2 * len(arrays["sequence"])
        assert out["last_shape"].tolist() == [1, 1, 5]


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_64_interleaved_sequences_of_one_stream_are_what_torch_gives(
    triton: ClientVenv, address: str, tmp_path: Path, model: str
) -> None:
    rng = np.random.default_rng(2)
    sequences = [random_input(toy(model).spec, rng, int(rng.integers(5, 60))) for _ in range(64)]
    cuts = [(k, int(n)) for k, x in enumerate(sequences) for n in _cut(rng, len(x))]
    turns = np.argsort(rng.permutation(len(cuts)))
    # Any interleaving, but each sequence's chunks in their order.
    owners = [cuts[i][0] for i in turns]
    chunks = {k: iter([n for owner, n in cuts if owner == k]) for k in range(64)}
    order = np.array([(k, next(chunks[k])) for k in owners])
    arrays = {f"x{k}": x for k, x in enumerate(sequences)} | {"order": order}
    out = run(triton, "triton_stream.py", address, tmp_path, arrays, model)
    for k, x in enumerate(sequences):
        assert_near(out[f"y{k}"], toy(model).run(x)[0])


def test_the_asyncio_client_calls_and_streams(triton: ClientVenv, address: str, tmp_path: Path) -> None:
    arrays = given(np.random.default_rng(3))
    out = run(triton, "triton_aio.py", address, tmp_path, arrays)
    for output in out["batch"]:
        assert_near(output, whole("lstm", arrays["batch"]))
    for name in ("aio", "77"):
        assert_near(out[name], whole("gru", arrays["sequence"][:, None]))


def test_kserves_client_infers_with_raw_and_typed_contents(kserve: ClientVenv, address: str, tmp_path: Path) -> None:
    arrays = given(np.random.default_rng(4))
    out = run(kserve, "kserve_client.py", address, tmp_path, arrays)
    assert_near(out["raw"], whole("lstm", arrays["batch"]))
    assert_near(out["typed"], whole("lstm", arrays["batch"]))
    assert_near(out["sequence"], whole("gru", arrays["sequence"][:, None]))
    assert out["error"][0] == "NOT_FOUND"
    assert "Request for unknown model" in out["error"][1]


def test_the_example_for_triton_runs_unchanged(triton: ClientVenv, address: str) -> None:
    example = Path(__file__).parents[2] / "examples" / "triton_sequence_client.py"
    said = json.loads(triton.run(example, "--url", address, "--model", "lstm", "--json").splitlines()[-1])
    assert len(said) == 2
    for sequence in said:
        x = np.array(sequence["input"], np.float32)
        assert_near(np.array(sequence["output"], np.float32), toy("lstm").run(x)[0])


def _cut(rng: np.random.Generator, length: int) -> list[int]:
    cuts = []
    while length:
        cuts.append(int(rng.integers(1, min(length, 40) + 1)))
        length -= cuts[-1]
    return cuts


def _tensor(array: Array) -> Any:
    import torch

    return torch.from_numpy(array.copy())
