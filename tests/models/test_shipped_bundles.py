"""The bundles that ship: each gives, of data that it has not learned from, what its model card says."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from elman_models import GraphStack, Packed, find_bundles, load_graph, read_any_spec
from models.bundles import training

BUNDLES = Path(__file__).parents[2] / "models" / "bundles"
CPU = torch.device("cpu")


def stack_of(name: str) -> GraphStack:
    return load_graph(BUNDLES / name, CPU)


def metadata_of(name: str) -> Any:
    return read_any_spec(BUNDLES / name).metadata


def run(stack: GraphStack, x: np.ndarray, state: Any = None) -> tuple[dict[str, np.ndarray], Any]:
    """[T, K, ...] -> each output [T, K, ...], or [K, ...] where it is the last step's; and the state."""
    steps, rows = x.shape[:2]
    packed = Packed(torch.from_numpy(np.ascontiguousarray(x)).flatten(0, 1), np.full(steps, rows))
    outputs, state = stack.step(packed, stack.initial_state(rows) if state is None else state)
    last = {output.name for output in stack.spec.outputs if output.last_only}
    shaped = {name: tensor.unflatten(0, (-1, rows)).numpy() for name, tensor in outputs.items()}
    return {name: array[-1] if name in last else array for name, array in shaped.items()}, state


def test_digits_reads_as_many_held_out_images_right_as_its_card_says() -> None:
    pytest.importorskip("sklearn")
    from models.bundles.digits.data import split

    training_part, held_out = split()
    assert len(training_part.digits) == 1437
    outputs, _ = run(stack_of("digits"), held_out.rows.swapaxes(0, 1))
    accuracy = (outputs["digit"].argmax(-1) == held_out.digits).mean()
    assert accuracy > 0.95
    assert f"{accuracy:.4f}" == metadata_of("digits")["held_out_accuracy"]


def test_sunspots_beats_the_naive_forecasts_by_what_its_card_says() -> None:
    pytest.importorskip("statsmodels")
    from models.bundles.sunspots.data import AHEAD, HELD_OUT_YEAR, month_of, monthly, rmse

    months, begin, stack = monthly(), month_of(HELD_OUT_YEAR), stack_of("sunspots")
    card = {name: float(figure) for name, figure in metadata_of("sunspots").items()}
    whole = run(stack, months[:, None, None])[0]["next_month"][:, 0, 0]
    assert rmse(whole[begin - 1 : -1], months[begin:]) == pytest.approx(card["one_step_rmse"], abs=0.006)
    assert rmse(months[begin - 1 : -1], months[begin:]) == pytest.approx(card["naive_one_step_rmse"], abs=0.006)
    ends = range(begin, len(months) - AHEAD + 1)
    read = np.stack([months[end - begin : end] for end in ends], 1)[..., None]
    outputs, state = run(stack, read)
    free = [outputs["next_month"][-1:]]
    while len(free) < AHEAD:
        outputs, state = run(stack, free[-1], state)
        free.append(outputs["next_month"])
    truth = np.stack([months[end : end + AHEAD] for end in ends], 1)
    assert rmse(np.concatenate(free)[..., 0], truth) == pytest.approx(card["free_24_rmse"], abs=0.01)
    assert card["one_step_rmse"] < card["naive_one_step_rmse"]
    assert card["free_24_rmse"] < 0.8 * card["naive_24_rmse"]


def test_anomaly_finds_what_is_planted_as_its_card_says() -> None:
    from models.bundles.anomaly.data import HELD_OUT_SEEDS, alarms_of, planted, precision_and_recall

    card, made = metadata_of("anomaly"), [planted(seed) for seed in HELD_OUT_SEEDS]
    load = np.stack([series for series, _ in made], 1)[..., None]
    forecasts = run(stack_of("anomaly"), load)[0]["next_hour"][..., 0]
    found = [
        (alarms_of(series, forecasts[:, number], float(card["threshold"])), events)
        for number, (series, events) in enumerate(made)
    ]
    precision, recall = precision_and_recall(found)
    assert (f"{precision:.3f}", f"{recall:.3f}") == (card["precision"], card["recall"])
    assert min(precision, recall) > 0.9


def test_cartpole_balances_without_being_told_velocities() -> None:
    pytest.importorskip("gymnasium")
    from models.bundles.cartpole.episodes import HELD_OUT_SEED, returns

    stack, states = stack_of("cartpole"), [None]

    def act(positions: np.ndarray) -> np.ndarray:
        outputs, states[0] = run(stack, positions[None], states[0])
        return np.asarray(outputs["action"][0].argmax(-1))

    assert stack.spec.inputs[0].features == (2,)
    card = float(metadata_of("cartpole")["mean_return"])
    assert card > 450
    assert returns(32, HELD_OUT_SEED, act).mean() == pytest.approx(card, abs=25)


def test_dates_translates_held_out_dates_exactly() -> None:
    from models.bundles.dates.data import ISO_CHARACTERS, ISO_LENGTH, START, held_out, to_ids

    encoder, decoder, right = stack_of("dates-encoder"), stack_of("dates-decoder"), 0
    pairs = held_out(300)
    for text, iso in pairs:
        _, state = run(encoder, to_ids(text)[:, None])
        token, written = np.array([[START]]), ""
        for _ in range(ISO_LENGTH):
            outputs, state = run(decoder, token, state)
            token = outputs["next"].argmax(-1)
            written += ISO_CHARACTERS[token[0, 0]]
        right += written == iso
    assert right / len(pairs) > 0.99
    assert float(metadata_of("dates-decoder")["held_out_exact"]) > 0.99


def test_no_way_of_writing_a_held_out_date_is_learned() -> None:
    from models.bundles.dates.data import FIRST, LAST, split

    known, unknown = (set(days.tolist()) for days in split())
    assert not known & unknown
    assert len(known) + len(unknown) == LAST - FIRST + 1


def card_of(folder: Path) -> str:
    """The pair of dates has one card."""
    own = folder.with_name("dates") if folder.name.startswith("dates-") else folder
    return (own / "README.md").read_text()


@pytest.mark.parametrize("folder", find_bundles(BUNDLES), ids=lambda folder: folder.name)
def test_a_card_says_the_figures_that_its_bundle_says_and_whose_the_data_is(folder: Path) -> None:
    card = card_of(folder)
    figures = [text for text in read_any_spec(folder).metadata.values() if text[0].isdigit()]
    assert figures
    assert [figure for figure in figures if figure not in card] == []
    for word in ("## Data", "## Licence", "parameters", "seed", "torch 2.", "2026-"):
        assert word in card
    assert (folder / "weights.safetensors").stat().st_size <= 4_000_000


@pytest.fixture
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checkpoints after every step."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    with torch.random.fork_rng():
        yield


def weights_of_a_run(out: Path, resume: bool = False, stop: int = 100) -> list[torch.Tensor]:
    """Six steps of a small regression; it is killed before the one that is `stop`."""
    torch.manual_seed(3)
    network = nn.Linear(4, 1)
    run = training.Run(training.Options(seed=3, resume=resume, out=out, steps=6), network, 0.1)

    def advance() -> tuple[str, float]:
        if run.step == stop:
            raise KeyboardInterrupt
        x = torch.from_numpy(run.random().normal(size=(8, 4))).float()
        return "error", run.descend(((network(x) - x.sum(-1, keepdim=True)) ** 2).mean())

    run.train(advance)
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.usefixtures("_without_waiting")
def test_a_training_that_was_cut_and_resumed_ends_where_one_in_one_piece_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = weights_of_a_run(tmp_path / "whole")
    assert "step     6 of 6  error" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        weights_of_a_run(tmp_path / "cut", stop=4)
    resumed = weights_of_a_run(tmp_path / "cut", resume=True)
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))


@pytest.mark.usefixtures("_without_waiting")
def test_another_runs_checkpoint_is_not_gone_on_from(tmp_path: Path) -> None:
    weights_of_a_run(tmp_path)
    with pytest.raises(SystemExit, match="expected a run with seed 4 and 6 steps, got one with seed 3 and 6"):
        training.Run(training.Options(seed=4, resume=True, out=tmp_path, steps=6), nn.Linear(4, 1), 0.1)


@pytest.mark.usefixtures("_without_waiting")
def test_a_training_script_writes_a_bundle_and_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    from models.bundles.digits import train

    monkeypatch.setattr(sys, "argv", ["train", "--out", str(tmp_path), "--steps", "3"])
    train.main()
    assert 0 < float(read_any_spec(tmp_path).metadata["held_out_accuracy"]) < 0.9
    assert load_graph(tmp_path, CPU).spec.name == "digits"
