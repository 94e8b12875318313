"""What is asked of a generation, checked against its model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.sampling import SamplingRules
from elman_server.errors import CannotGenerate, InvalidInput
from elman_server.exchange.initial import check_tensor
from elman_server.exchange.model_view import ModelView, StepRecord, TensorField

Array = NDArray[Any]


class FeedbackKind(IntEnum):
    """What becomes of an output."""

    TOKENS = 1
    VALUES = 2
    NORMAL = 3
    MIXTURE = 4


@dataclass(frozen=True)
class FeedbackNames:
    """What is to be fed back, as it was asked for; empty: what can be meant."""

    input: str = ""
    output: str = ""
    kind: FeedbackKind | None = None
    scale: str = ""
    is_log_scale: bool = False
    weights: str = ""


@dataclass(frozen=True)
class Feedback:
    """From an output, or several, to an input."""

    input: TensorField
    output: TensorField
    kind: FeedbackKind
    scale: TensorField | None = None
    is_log_scale: bool = False
    weights: TensorField | None = None

    @property
    def needs(self) -> list[str]:
        """The outputs, by name."""
        return [one.name for one in (self.output, self.scale, self.weights) if one]


@dataclass(frozen=True)
class GenerateSpec:
    """One generation. `given` and `prompt` fit the model."""

    max_steps: int
    feedback: tuple[Feedback, ...]
    outputs: int
    """Those that it needs, as bits."""
    rules: SamplingRules = field(default_factory=SamplingRules)
    stop: frozenset[int] = frozenset()
    stop_sequences: tuple[tuple[int, ...], ...] = ()
    prompt: Array | None = None
    """[n, *features] the input record."""
    given: Mapping[str, Array] = field(default_factory=dict)
    """[max_steps, *features] of the inputs that are not fed back, by name."""
    beams: int = 0
    length_penalty: float = 0.0

    @property
    def takes_ids_alone(self) -> bool:
        """Whether the model has one input, of ids: a step is an id then."""
        return len(self.feedback) == 1 and not self.given and self.feedback[0].input.num_embeddings > 0

    def prompt_tokens(self) -> list[int]:
        """Those of the prompt, where tokens are drawn."""
        drawn = next((one.input for one in self.feedback if one.kind is FeedbackKind.TOKENS), None)
        if drawn is None or self.prompt is None:
            return []
        steps = self.prompt if self.prompt.dtype.names is None else self.prompt[drawn.name]
        tokens: list[int] = (steps if drawn.num_embeddings else steps.argmax(axis=1)).tolist()
        return tokens


def feedback_of(view: ModelView, names: Sequence[FeedbackNames]) -> tuple[Feedback, ...]:
    """What is fed back, as asked, or what can be meant where nothing is.

    Raises:
        InvalidInput: a name is unknown, or stands twice.
        CannotGenerate: the output does not fit the input, or what is meant is open.
    """
    feedback = tuple(_feedback(view, one) for one in names or [FeedbackNames()])
    fed = [one.input.name for one in feedback]
    if len(set(fed)) < len(fed):
        raise InvalidInput(f"feedback: each input is fed once, and {max(fed, key=fed.count)!r} stands twice")
    if sum(one.kind is FeedbackKind.TOKENS for one in feedback) > 1:
        raise InvalidInput("feedback: tokens are drawn for one input, got several")
    return feedback


def check_given(view: ModelView, feedback: Sequence[Feedback], given: Mapping[str, Array], steps: int) -> None:
    """Raises InvalidInput unless `given` has so many steps of each input that is not fed back, and of no other."""
    fed = [one.input.name for one in feedback]
    needed = [one for one in view.input.fields if one.name not in fed]
    if {one.name for one in needed} != set(given):
        names = ", ".join(repr(one.name) for one in needed) or "none"
        raise InvalidInput(
            f"given: expected the inputs that are not fed back, {names}, got {', '.join(given) or 'none'}"
        )
    for one in needed:
        check_tensor(one, given[one.name], "given", steps)


def check_tokens(tokens: Sequence[int], size: int, what: str) -> None:
    """Raises InvalidInput for a token that the model has not."""
    for token in tokens:
        if not 0 <= token < size:
            raise InvalidInput(f"{what}: tokens of this model are in [0, {size}), got {token}")


def _feedback(view: ModelView, names: FeedbackNames) -> Feedback:
    to = _named(view.input, names.input, "input")
    output = _named(view.output, names.output, "output")
    kind = names.kind or (FeedbackKind.TOKENS if to.num_embeddings else FeedbackKind.VALUES)
    scale = _named(view.output, names.scale, "scale", optional=True)
    weights = _named(view.output, names.weights, "weights", optional=True)
    feedback = Feedback(to, output, kind, scale, names.is_log_scale, weights)
    for name in feedback.needs:
        _check_steps(_named(view.output, name, "output"))
    _CHECKS[kind](feedback)
    return feedback


def _named(record: StepRecord, name: str, kind: str, *, optional: bool = False) -> Any:
    if not name and optional:
        return None
    if name:
        found = next((one for one in record.fields if one.name == name), None)
        if found is None:
            raise InvalidInput(
                f"feedback, {kind}: expected one of {', '.join(map(repr, record.names))}, got {name[:64]!r}"
            )
        return found
    if len(record.fields) > 1:
        raise CannotGenerate(
            f"the model has several {kind}s, {', '.join(map(repr, record.names))}: say by `feedback` what is fed back"
        )
    return record.fields[0]


def _check_steps(output: TensorField) -> None:
    if output.per_row:
        raise CannotGenerate(f"output {output.name!r} is of a whole sequence: no step follows from it")


def _check_token(one: Feedback) -> None:
    if one.output.dtype != np.float32 or len(one.output.features) != 1:
        raise _misfit(one, "a logit for each token")
    size = one.output.features[0]
    if one.input.num_embeddings and size > one.input.num_embeddings:
        raise _misfit(one, f"at most {one.input.num_embeddings} logits")
    if not one.input.num_embeddings and one.input.features != (size,):
        raise _misfit(one, f"a logit for each of {list(one.input.features)}")


def _check_values(one: Feedback) -> None:
    if one.input.num_embeddings or one.input.features != one.output.features or one.input.dtype != one.output.dtype:
        raise _misfit(one, f"{one.input.dtype} {list(one.input.features)}")


def _check_normal(one: Feedback) -> None:
    _check_values(one)
    if one.scale is None or one.scale.features != one.output.features:
        raise InvalidInput("feedback: a normal distribution has a mean and, as `scale`, deviations of the same shape")


def _check_mixture(one: Feedback) -> None:
    if one.scale is None or one.weights is None:
        raise InvalidInput("feedback: a mixture has means, deviations as `scale`, and `weights`")
    tensors = (one.output, one.scale, one.weights)
    if one.input.num_embeddings or len(one.input.features) != 1 or any(len(t.features) != 1 for t in tensors):
        raise _misfit(one, "vectors")
    (size,), (means,), (scales,), (count,) = (t.features for t in (one.input, *tensors))
    if means != count * size or scales not in (count, means):
        raise InvalidInput(
            f"feedback: a mixture of {count} for an input [{size}] has means [{count * size}] and deviations "
            f"[{count * size}] or [{count}], got [{means}] and [{scales}]"
        )


_CHECKS = {
    FeedbackKind.TOKENS: _check_token,
    FeedbackKind.VALUES: _check_values,
    FeedbackKind.NORMAL: _check_normal,
    FeedbackKind.MIXTURE: _check_mixture,
}


def _misfit(one: Feedback, expected: str) -> CannotGenerate:
    takes = f"ids below {one.input.num_embeddings}" if one.input.num_embeddings else f"{list(one.input.features)}"
    return CannotGenerate(
        f"the model cannot be fed what it gives: input {one.input.name!r} takes {takes}, which needs {expected}, and "
        f"output {one.output.name!r} gives {one.output.dtype} {list(one.output.features)}"
    )
