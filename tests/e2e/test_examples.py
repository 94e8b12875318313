"""Each example, as it stands, against one server of the bundles that ship: as good as the model cards say."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import Running

import elman
from elman_models import read_any_spec

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "models" / "bundles"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    running = Running(BUNDLES)
    yield running.address
    running.close()


def card(name: str, figure: str) -> str:
    return str(read_any_spec(BUNDLES / name).metadata[figure])


def test_one_character_alone_is_followed_as_the_model_has_it(address: str) -> None:
    from examples import one_to_one

    following = one_to_one.main(address)
    assert len(following) == len(one_to_one.BEGINNINGS)
    assert following[0] == "u"  # after a q


def test_what_is_generated_goes_on_from_the_prompt_and_is_the_same_again(address: str) -> None:
    from examples import one_to_many

    text = one_to_many.main(address)
    assert len(text) == 150
    assert "(" in text.split("\n")[0]  # it defines a function
    assert one_to_many.main(address) == text


def test_digits_are_read_right_as_often_as_the_card_says(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    from examples import many_to_one

    assert f"{many_to_one.main(address):.4f}" == card("digits", "held_out_accuracy")
    said = capsys.readouterr().out
    assert re.search(r"is a \d, with probability [01]\.\d+", said)


def test_an_image_row_by_row_gives_what_the_whole_image_does(address: str) -> None:
    pytest.importorskip("sklearn")
    from models.bundles.digits.data import split

    image = split()[1].rows[5]
    with elman.Client(address) as client, client.model("digits").session() as session:
        for row in image:
            last = session.step(row)
        whole, _ = client.model("digits").infer(image)
    np.testing.assert_allclose(last, whole, atol=1e-5)


def test_sunspots_are_forecast_as_the_card_says_and_free_running_as_torch_does(address: str) -> None:
    pytest.importorskip("statsmodels")
    from examples import many_to_many

    from models.bundles.sunspots.data import HELD_OUT_YEAR, month_of, monthly, rmse
    from models.bundles.sunspots.network import Sunspots

    forecasts, free = many_to_many.main(address)
    months = monthly()
    error = rmse(forecasts, months[month_of(HELD_OUT_YEAR) :])
    assert error == pytest.approx(float(card("sunspots", "one_step_rmse")), abs=0.006)
    network = trained(Sunspots(), "sunspots")
    for number, start in list(enumerate(many_to_many.STARTS))[::10]:
        with torch.no_grad():
            expected = network.run_free(torch.from_numpy(months[None, :start, None]), 24)[0, -24:, 0]
        np.testing.assert_allclose(free[number], expected, rtol=1e-4, atol=1e-3)


def trained(network: Any, bundle: str) -> Any:
    """A network of plain torch with a bundle's weights."""
    from safetensors.torch import load_file

    network.load_state_dict(load_file(BUNDLES / bundle / "weights.safetensors"))
    return network.eval()


def test_dates_go_from_the_encoders_session_to_the_decoders_and_come_out_exact(address: str) -> None:
    from examples import sequence_to_sequence

    from models.bundles.dates.data import held_out, to_ids
    from models.bundles.dates.network import Translator

    assert sequence_to_sequence.main(address, num=200) > 0.99
    texts = [text for text, _ in held_out(220)[200:]]
    said, _ = asyncio.run(sequence_to_sequence.translate(address, texts))
    translator = Translator()
    trained(translator.encoder, "dates-encoder")
    trained(translator.decoder, "dates-decoder")
    assert said == translator.translate([torch.from_numpy(to_ids(text)) for text in texts])


def test_one_date_by_two_single_sessions(address: str) -> None:
    from models.bundles.dates.data import ISO_CHARACTERS, ISO_LENGTH, START, to_ids

    with elman.Client(address) as client:
        with client.model("dates-encoder").session() as reading:
            reading.step(to_ids("Saturday, the 3rd of March, 1984"), returning="none")
            state = reading.state()
        token, written = START, ""
        with client.model("dates-decoder").session(initial_state=state) as writing:
            for _ in range(ISO_LENGTH):
                token = int(writing.step([token])[-1].argmax())
                written += ISO_CHARACTERS[token]
    assert written == "1984-03-03"


def test_a_pool_of_sessions_balances_as_many_poles(address: str) -> None:
    pytest.importorskip("gymnasium")
    from examples import policy

    assert policy.main(address, num=16) == pytest.approx(float(card("cartpole", "mean_return")), abs=25)


def test_anomalies_are_found_as_the_card_says(address: str) -> None:
    from examples import anomaly

    precision, recall = anomaly.main(address)
    assert (f"{precision:.3f}", f"{recall:.3f}") == (card("anomaly", "precision"), card("anomaly", "recall"))


def test_every_example_of_a_form_is_short_is_tried_here_and_stands_in_the_readme() -> None:
    here, readme = Path(__file__).read_text(), (ROOT / "README.md").read_text()
    others = {"demo", "pictures", "triton_sequence_client", "__init__"}
    for path in (ROOT / "examples").glob("*.py"):
        if path.stem not in others:
            assert f"from examples import {path.stem}\n" in here
            assert f"(examples/{path.name})" in readme
            assert len(path.read_text().splitlines()) <= 40


def test_every_form_has_a_picture_which_the_script_makes_and_the_readme_names() -> None:
    table = (ROOT / "README.md").read_text().split("## The forms")[1].split("\n##")[0]
    named = re.findall(r"\(examples/\w+\.py\) \| \[[^]]+\]\(docs/(\w+)\.png\)", table)
    made = re.findall(r'save\(figure, "(\w+)"\)', (ROOT / "examples" / "pictures.py").read_text())
    assert len(named) == len(set(named)) == table.count("(examples/") == 7
    assert sorted(made) == sorted(named) == sorted(path.stem for path in (ROOT / "docs").glob("*.png"))
    assert all(path.stat().st_size < 80_000 for path in (ROOT / "docs").glob("*.png"))
