"""What is fed back: values, draws from distributions, tokens as one-hot vectors, beside inputs that are given."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from served import Serve
from torch import nn

import elman
from elman_models import pack
from elman_models.generation.chance import normal
from elman_models.generation.sampling import SamplingRules, sample


class Values(nn.Module):
    """The next value of a series."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


class OneHot(nn.Module):
    """The next letter, of letters as one-hot vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(self.rnn(x)[0]), -1)


class Gaussian(nn.Module):
    """The distribution of the next value, with a covariate beside."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 6, batch_first=True)
        self.mean = nn.Linear(6, 2)
        self.scale = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor, day: torch.Tensor) -> dict[str, torch.Tensor]:
        y, _ = self.rnn(torch.cat([x, day], -1))
        return {"mean": self.mean(y), "log_scale": self.scale(y)}


class Mixed(nn.Module):
    """A mixture of three."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 6, batch_first=True)
        self.means = nn.Linear(6, 6)
        self.scales = nn.Linear(6, 3)
        self.weights = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y, _ = self.rnn(x)
        return {"means": self.means(y), "scales": torch.exp(self.scales(y)), "weights": self.weights(y)}


class LostAtZero(OneHot):
    """No numbers where the first of the letter's values is 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0]) + x[..., :1] / x[..., :1]


torch.manual_seed(0)
NETWORKS = {
    "values": Values(),
    "one_hot": OneHot(),
    "gaussian": Gaussian(),
    "mixed": Mixed(),
    "lost_at_zero": LostAtZero(),
}
PROMPT = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feedback")
    sizes = {"values": (2,), "one_hot": (5,), "gaussian": (2, 1), "mixed": (2,), "lost_at_zero": (5,)}
    for name, module in NETWORKS.items():
        example = tuple(torch.randn(3, 4, size) for size in sizes[name])
        pack(module.eval(), example, out=folder / name, name=name)
    return folder


@pytest.fixture
async def client(serve: Serve, models: Path) -> AsyncIterator[elman.AsyncClient]:
    served = await serve(models=models)
    async with elman.AsyncClient(served.server.address) as client:
        yield client


def ran(name: str, *sequences: np.ndarray) -> Any:
    """What the module gives for one sequence, at its last step, by name where it has several."""
    with torch.no_grad():
        given = NETWORKS[name](*(torch.from_numpy(one)[None] for one in sequences))
    if isinstance(given, dict):
        return {key: value[0, -1].numpy() for key, value in given.items()}
    return given[0, -1].numpy()


async def listed(generation: elman.AsyncGeneration) -> list[Any]:
    return [step async for step in generation]


async def test_a_forecast_is_fed_back_as_it_is(client: elman.AsyncClient) -> None:
    steps = await listed((await client.model("values")).generate(6, prompt=PROMPT))
    series = PROMPT
    for step in steps:
        assert np.allclose(step, ran("values", series), atol=1e-5)
        series = np.concatenate([series, step[None]])


async def test_letters_are_drawn_from_probabilities_and_fed_as_one_hot_vectors(client: elman.AsyncClient) -> None:
    prompt = np.eye(5, dtype=np.float32)[[3, 1]]
    generation = (await client.model("one_hot")).generate(
        12, prompt=prompt, seed=4, feedback={"x": elman.Tokens("output")}, repetition_penalty=1.3
    )
    tokens, series = await listed(generation), prompt
    for count, token in enumerate(tokens):
        logits = np.log(ran("one_hot", series))[None]
        rules = SamplingRules(seed=4, repetition_penalty=1.3)
        expected, log_prob = sample(logits, [rules], [count], [series.argmax(1).tolist()])
        assert token == expected[0]
        assert np.isclose(generation.log_probs[count], log_prob[0], atol=1e-5)
        series = np.concatenate([series, np.eye(5, dtype=np.float32)[[token]]])


@pytest.mark.parametrize("temperature", [0.0, 0.25, 1.0])
async def test_a_gaussian_head_is_drawn_from_beside_a_covariate_that_is_given(
    client: elman.AsyncClient, temperature: float
) -> None:
    days = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
    feedback = {"x": elman.Normal("mean", "log_scale", is_log_scale=True)}
    steps = await listed(
        (await client.model("gaussian")).generate(
            6,
            prompt={"x": PROMPT, "day": days[:4]},
            given={"day": days[4:]},
            feedback=feedback,
            seed=9,
            temperature=temperature,
        )
    )
    series = PROMPT
    for count, step in enumerate(steps):
        head = ran("gaussian", series, days[: len(series)])
        noise = normal(9, count, np.array([1, 2]))
        expected = head["mean"] + np.sqrt(temperature) * np.exp(head["log_scale"]) * noise
        assert np.allclose(step["x"], expected, atol=1e-5)
        series = np.concatenate([series, step["x"][None]])


async def test_a_mixture_is_drawn_from(client: elman.AsyncClient) -> None:
    feedback = {"x": elman.Mixture("means", "scales", "weights")}
    steps = await listed((await client.model("mixed")).generate(8, prompt=PROMPT, feedback=feedback, seed=2))
    series = PROMPT
    for count, step in enumerate(steps):
        head = ran("mixed", series)
        chosen = int(sample(head["weights"][None], [SamplingRules(seed=2)], [count], [()])[0][0])
        mean, scale = head["means"].reshape(3, 2)[chosen], head["scales"][chosen]
        assert np.allclose(step, mean + scale * normal(2, count, np.array([1, 2])), atol=1e-5)
        series = np.concatenate([series, step[None]])


async def test_what_cannot_be_fed_or_is_missing_is_refused_by_name(client: elman.AsyncClient) -> None:
    model = await client.model("gaussian")
    prompt = {"x": PROMPT, "day": PROMPT[:, :1]}
    with pytest.raises(elman.UnsupportedError, match="several inputs, 'x', 'day': say by `feedback`"):
        await listed(model.generate(3, prompt=prompt))
    feedback = {"x": elman.Normal("mean", "log_scale")}
    with pytest.raises(elman.InvalidInputError, match="given: expected the inputs that are not fed back, 'day'"):
        await listed(model.generate(3, prompt=prompt, feedback=feedback))
    with pytest.raises(elman.InvalidInputError, match=r"given 'day': expected float32 \[3, 1\], got float32 \[2, 1\]"):
        await listed(model.generate(3, prompt=prompt, feedback=feedback, given={"day": np.zeros((2, 1))}))
    odd = {"x": elman.Mixture("mean", "log_scale", "mean")}
    with pytest.raises(elman.InvalidInputError, match="a mixture of 2 for an input"):
        await listed(model.generate(3, prompt=prompt, feedback=odd, given={"day": np.zeros((3, 1))}))
    values = await client.model("values")
    with pytest.raises(elman.InvalidInputError, match="are of tokens, and none are drawn here"):
        await listed(values.generate(3, prompt=PROMPT, top_k=3))
    with pytest.raises(elman.InvalidInputError, match="stop: no tokens are drawn here"):
        await listed(values.generate(3, prompt=PROMPT, stop=[1]))
    with pytest.raises(elman.UnsupportedError, match="beams are of tokens"):
        await listed(values.generate(3, prompt=PROMPT, beams=3))


async def test_what_is_not_finite_ends_its_own_generation_alone(client: elman.AsyncClient) -> None:
    model = await client.model("mixed")
    feedback = {"x": elman.Mixture("means", "scales", "weights")}
    large = np.full((1, 2), 3e38, np.float32)
    async with model.session() as lost, model.session() as other:
        await lost.set_state(
            {name: np.full_like(array, np.float32(3e38)) for name, array in (await lost.state()).items()}
        )
        failing = listed(lost.generate(50, prompt=large, feedback=feedback))
        going = listed(other.generate(50, prompt=PROMPT, feedback=feedback))
        outcomes = await asyncio.gather(failing, going, return_exceptions=True)
    assert isinstance(outcomes[0], elman.InvalidInputError), outcomes[0]
    assert "NaN or infinite" in str(outcomes[0])
    assert len(outcomes[1]) == 50


async def test_tokens_are_not_drawn_from_what_is_no_number(client: elman.AsyncClient) -> None:
    feedback = {"x": elman.Tokens("output")}
    model = await client.model("lost_at_zero")
    async with model.session() as lost, (await client.model("one_hot")).session() as other:
        with pytest.raises(elman.UnsupportedError, match="no number"):
            await listed(lost.generate(9, prompt=np.zeros((1, 5)), feedback=feedback))
        assert len(await listed(other.generate(9, prompt=np.eye(5)[:1], feedback=feedback))) == 9
