"""Policies as people write them, of torch.distributions: what is computed of one is packed, what is drawn refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.nn.functional import softplus

from elman_models import ExportError, pack, pack_step

Gives = Callable[..., Any]


class Policy(nn.Module):
    """A GRU, a deviation that was learned by itself, and what is given of a distribution of them."""

    def __init__(self, gives: Gives) -> None:
        super().__init__()
        self.gru, self.gives = nn.GRU(3, 4, batch_first=True), gives
        self.log_std = nn.Parameter(torch.full((4,), -0.3))

    def forward(self, x: torch.Tensor, *action: torch.Tensor) -> Any:
        return self.gives(self.gru(x)[0], self.log_std.exp(), *action)


def categorical(y: torch.Tensor, std: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
    dist = Categorical(logits=y)
    of_probs = Categorical(y.softmax(-1), validate_args=True)
    return {
        "log_prob": dist.log_prob(action),
        "other": of_probs.log_prob(action),
        "probs": dist.probs,
        "entropy": dist.entropy(),
        "mode": dist.mode,
    }


def normal(y: torch.Tensor, std: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
    dist = Normal(y, std)
    own = Independent(Normal(y[..., :2], softplus(y[..., 2:]), validate_args=True), 1)
    return {
        "log_prob": dist.log_prob(action).sum(-1),
        "mean": dist.mean,
        "scale": dist.scale,
        "entropy": dist.entropy().sum(-1),
        "variance": own.variance,
        "own": own.log_prob(action[..., :2]),
        "plain": Normal(y, 1.0).mean,
    }


def bounded(y: torch.Tensor, std: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, ...]:
    squashed = TransformedDistribution(Normal(y, std), [TanhTransform(cache_size=1)])
    coin = Bernoulli(logits=y)
    beta = Beta(softplus(y) + 1, softplus(-y) + 1)
    return squashed.log_prob(0.9 * torch.tanh(action)), coin.entropy(), coin.probs, beta.mean


def last_step(y: torch.Tensor, std: torch.Tensor) -> tuple[torch.Tensor, ...]:
    dist = Normal(y[:, -1], std)
    return dist.mean, dist.stddev, Categorical(logits=y[:, -1]).probs


def masked(y: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    y = y * std
    y[y < 0] = 0.25
    return y


IDS, NUMBERS = torch.randint(4, (3, 5)), torch.randn(3, 5, 4)
GIVEN: dict[str, tuple[Gives, tuple[torch.Tensor, ...]]] = {
    "categorical": (categorical, (IDS,)),
    "normal": (normal, (NUMBERS,)),
    "bounded": (bounded, (NUMBERS,)),
    "of the last step": (last_step, ()),
    "where a mask is": (masked, ()),
}


@pytest.mark.parametrize("what", GIVEN)
def test_what_is_computed_of_a_distribution_is_what_the_module_gives(what: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    gives, action = GIVEN[what]
    validates, sample = Distribution._validate_args, Distribution._validate_sample
    packed = pack(Policy(gives), (torch.randn(3, 5, 3), *action), out=tmp_path / "m", name="m", quiet=True)
    assert packed.spec.kind == "streaming"
    assert packed.differences.largest <= 1e-5
    assert (Distribution._validate_args, Distribution._validate_sample) == (validates, sample)
    with pytest.raises(ValueError, match="constraint"):
        Normal(torch.zeros(1), -torch.ones(1), validate_args=True)


INSTEAD = "random numbers. Instead: give what they are drawn from"
NOT_GIVEN: dict[str, tuple[Gives, str]] = {
    "drawn ids": (lambda y, std: Categorical(logits=y).sample(), f"multinomial: {INSTEAD}"),
    "drawn numbers": (lambda y, std: Normal(y, std).sample(), f"normal: {INSTEAD}"),
    "drawn numbers with a gradient": (lambda y, std: Normal(y, std).rsample(), f"normal_: {INSTEAD}"),
    "a distribution": (lambda y, std: Normal(y, std), "it gives a Normal. Instead: its parameters, dist.logits, or"),
    "a loss": (
        lambda y, std: nn.functional.binary_cross_entropy_with_logits(y, torch.ones_like(y)),
        "a loss, which brings rows together or weighs them. Instead: compute it in training alone",
    ),
    "a part that is set": (
        lambda y, std: y.index_put((y > 0,), torch.tensor(torch.inf)),
        "other than one finite number where a mask",
    ),
}


@pytest.mark.parametrize("what", NOT_GIVEN)
def test_what_is_drawn_or_is_no_tensor_is_refused_with_what_to_do_instead(what: str, tmp_path: Path) -> None:
    gives, message = NOT_GIVEN[what]
    with pytest.raises(ExportError) as caught:
        pack(Policy(gives), (torch.randn(3, 5, 3),), out=tmp_path / "m", name="m", quiet=True)
    assert message in str(caught.value)


@pytest.mark.parametrize("validates", [True, False])
def test_numbers_that_a_distribution_cannot_give_are_refused_with_what_to_do_instead(
    validates: bool, tmp_path: Path
) -> None:
    def of_coins(y: torch.Tensor, std: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        made = Bernoulli(logits=y, validate_args=validates)
        return made.log_prob(action)

    example = (torch.randn(3, 5, 3), torch.ones(3, 5, 4))
    if not validates:
        assert pack(Policy(of_coins), example, out=tmp_path / "m", name="m", quiet=True).spec.kind == "streaming"
        return
    with pytest.raises(ExportError) as caught:
        pack(Policy(of_coins), example, out=tmp_path / "m", name="m", quiet=True)
    assert "return made.log_prob(action)`: the module itself fails: ValueError: " in str(caught.value)
    assert ". Instead: clamp what the distribution takes, or make it with validate_args=False" in str(caught.value)
    assert "\n" not in str(caught.value)


class Cells(nn.Module):
    """Takes its state as many arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> Any:
        h, c = self.cell(x, state)
        return 2 * h, h, c


def test_a_step_takes_its_state_as_any_number_of_arguments(tmp_path: Path) -> None:
    state = (torch.zeros(3, 4), torch.zeros(3, 4))
    packed = pack_step(Cells(), torch.randn(3, 3), state, out=tmp_path / "m", name="m", quiet=True)
    assert [one.name for one in packed.spec.states] == ["state_0", "state_1"]
    assert packed.differences.largest <= 1e-5
