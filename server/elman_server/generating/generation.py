"""A generation: what was asked of a session, and what came of it so far."""

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.beams import Hypothesis
from elman_server.errors import EngineFailed, ServiceError
from elman_server.generating.spec import GenerateSpec

Array = NDArray[Any]


class Finish(IntEnum):
    """Why it has ended."""

    STOP = 1
    LENGTH = 2


class Listening(Protocol):
    """Who is told of a generation."""

    def notify(self) -> None:
        """There is more. On the loop."""
        ...

    def fail(self, error: ServiceError) -> None:
        """It is told no more. On the engine's thread."""
        ...


class Generation:
    """Written on the engine's thread. Others read `steps`, which only grows, and what is set once."""

    def __init__(self, spec: GenerateSpec, key: bytes, slot: int, created: float, position: int, turns: int) -> None:
        """`key`: of what was asked; `created`: when its session was, which tells it from the slot's next one;
        `position`: of the session before the prompt; `turns`: `Runtime.turns` of the slot."""
        self.spec = spec
        self.key = key
        self.slot = slot
        self.created = created
        self.begin = position
        self.turns = turns
        self.prompt_length = 0 if spec.prompt is None else len(spec.prompt)
        self.handle = 0
        """Under which its steps are taken in."""
        self.kind = 0
        """Of those of one kind the same is fed back."""
        self.steps: list[Any] = []
        """The steps that were applied, each a row of the input record, or of ids the id."""
        self.log_probs: list[float] = []
        """Of the tokens drawn, one for each step."""
        self.looks_back = bool(spec.stop_sequences) or spec.rules.repetition_penalty != 1
        """Whether the tokens that the sequence has had matter."""
        self.tokens: list[int] = spec.prompt_tokens() if self.looks_back else []
        """Those that the sequence has had, the prompt's first; where tokens are drawn and looked back at."""
        self.output: Array | None = None
        """[*features] what it gave last, the record of the outputs that it needs."""
        self.has_run_prompt = spec.prompt is None
        self.under_way = 0
        """Steps of it that are queued or run."""
        self.beams: list[Hypothesis] = []
        """Of a beam search, once it is over: all that were kept, the best first."""
        self.search: object | None = None
        """The beam search that is under way for it."""
        self.finish: Finish | None = None
        self.error: ServiceError | None = None
        self.listener: Listening | None = None
        """Who is told when there is more; None: nobody, and it rests."""

    @property
    def num_bytes(self) -> int:
        """About, of what is kept of it."""
        step = 64 if self.spec.takes_ids_alone else 128 + sum(one.input.num_bytes for one in self.spec.feedback)
        given = sum(array.nbytes for array in self.spec.given.values())
        prompt = 0 if self.spec.prompt is None else self.spec.prompt.nbytes
        output = 0 if self.output is None else self.output.nbytes
        return 1024 + step * self.count + given + prompt + output

    def note_prompt(self) -> None:
        """The prompt has run, and is not needed any more."""
        self.has_run_prompt = True
        self.spec = replace(self.spec, prompt=None)

    @property
    def count(self) -> int:
        """Steps generated."""
        return len(self.steps)

    @property
    def position(self) -> int:
        """Of its session, once what is queued of it has run."""
        return self.begin + (self.prompt_length if self.has_run_prompt else 0) + len(self.steps)

    @property
    def is_running(self) -> bool:
        """Whether a step of it is queued or runs."""
        return self.under_way > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes, unless it is asked for again."""
        return self.finish is not None or self.error is not None

    def add(self, step: Any, token: int | None, log_prob: float | None) -> None:
        """A step that was applied; the token that was drawn for it, if one was."""
        if token is not None and log_prob is not None:
            self.log_probs.append(log_prob)
            if self.looks_back:
                self.tokens.append(token)
        self.steps.append(step)  # last: who reads sees it with all else
        self.finish = self._finish(token)

    def add_all(self, steps: Sequence[Any], beams: list[Hypothesis]) -> None:
        """The steps of the best of a beam search, which have been applied."""
        self.beams = beams
        self.log_probs = list(beams[0].log_probs)
        self.steps = list(steps)
        self.finish = Finish.LENGTH if len(steps) == self.spec.max_steps else Finish.STOP

    def _finish(self, token: int | None) -> Finish | None:
        spec, count = self.spec, len(self.steps)
        if token in spec.stop:
            return Finish.STOP
        for sequence in spec.stop_sequences:
            if len(sequence) <= count and tuple(self.tokens[-len(sequence) :]) == sequence:
                return Finish.STOP
        return Finish.LENGTH if count == spec.max_steps else None


def bug(error: Exception) -> EngineFailed:
    """What whoever waits is told of a bug."""
    return EngineFailed(f"what is generated met a bug in the server: {type(error).__name__}")


def as_array(generation: Generation, first: int, end: int) -> Array:
    """[end - first, *features] steps of it, as the input record."""
    return np.array(generation.steps[first:end])
