"""A turn: one frame of generations, and what becomes of its answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame
from elman_server.generating.feeding import Fed
from elman_server.generating.generation import Generation, bug

if TYPE_CHECKING:
    from elman_server.generating.generator import Generator

Array = NDArray[Any]


class Turn:
    """One frame's generations: who waits for it."""

    def __init__(
        self,
        generator: "Generator",
        generations: Sequence[Generation],
        data: Array | None = None,
        fed: Fed | None = None,
    ) -> None:
        """`data`: [K, *features] the step of each, made of `fed`; without them it is a prompt."""
        self.generations = generations
        self._generator = generator
        self._made: Sequence[tuple[Any, int | None, float | None]] = ()  # of each its step, token and log-probability
        if data is not None and fed is not None:
            steps = data.tolist() if generations[0].spec.takes_ids_alone else data
            nothing = [None] * len(data)
            self._made = list(zip(steps, fed.tokens or nothing, fed.log_probs or nothing, strict=True))

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes a part."""
        if answer.frame_error:
            for one in self.generations:
                self._generator.fail(one, answer.frame_error)
            return
        for row, error in answer.errors:
            self._generator.fail(self.generations[row], error)
        if answer.output is None or not len(answer.finished):
            return
        rows = answer.finished.tolist()
        landed = [self.generations[row] for row in rows]
        outputs = answer.output.copy()  # what a result holds is overwritten one day
        for one, row, output in zip(landed, rows, outputs, strict=True):
            one.output = output
            if self._made:
                one.add(*self._made[row])
            else:
                one.note_prompt()
        self._generator.land(landed)

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Ends them: nobody knows what was applied."""
        for one in self.generations:
            self._generator.fail(one, bug(error))
