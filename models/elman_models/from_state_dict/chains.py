"""The networks that a state_dict could be: the matrices beside the stack, put before and after it in every order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

from elman_models.from_state_dict.dense import Dense

EMBEDDING = "the embedding"
BEFORE = "a linear layer before the stack"
HEAD = "the head"
AFTER = "one of several linear layers after the stack"

_MAX_LAYERS = 6
"""More are not tried in every order."""


@dataclass(frozen=True)
class Chain:
    """One of them: an embedding or none, linear layers, the stack, linear layers."""

    table: Dense | None
    before: tuple[Dense, ...]
    after: tuple[Dense, ...]

    @property
    def head(self) -> Dense | None:
        """The last layer after the stack."""
        return self.after[-1] if self.after else None

    @property
    def is_in_order(self) -> bool:
        """Whether the layers after the stack are defined in that order, as far as can be told."""
        return all(one.may_precede(other) for one, other in pairwise(self.after))

    def is_servable(self, is_known_between: bool) -> bool:
        """Whether it is packed; `is_known_between`: what is between several layers after the stack."""
        return not self.before and (is_known_between or len(self.after) <= 1)

    @property
    def names(self) -> set[str]:
        """All its tensors beside the stack's."""
        return {name for dense in (self.table, *self.before, *self.after) if dense for name in dense.names}

    def roles(self) -> Iterator[tuple[Dense, str]]:
        """Every layer with what it is here, in words."""
        if self.table:
            yield self.table, EMBEDDING
        for dense in self.before:
            yield dense, BEFORE
        for dense in self.after:
            yield dense, HEAD if len(self.after) == 1 else AFTER

    def computes(self) -> tuple[object, ...]:
        """Equal for chains that compute the same: tied matrices may change places."""
        layers = (self.table, None, *self.before, None, *self.after)
        return tuple(dense and (dense.memory, *dense.names[1:]) for dense in layers)

    def fits(self, input_size: int, output_size: int) -> bool:
        """Whether each layer takes what the one before gives; the stack takes `input_size`, gives `output_size`."""
        if not all(dense.is_layer for dense in (*self.before, *self.after)):
            return False
        taken = [*(dense.shape[1] for dense in self.before), input_size]
        if self.table and not (self.table.is_table and self.table.shape[1] == taken[0]):
            return False
        if not all(dense.feeds(size) for dense, size in zip(self.before, taken[1:], strict=True)):
            return False
        given = [output_size, *(dense.shape[0] for dense in self.after)]
        return all(dense.shape[1] == size for dense, size in zip(self.after, given, strict=False))


def find_chains(denses: Sequence[Dense], input_size: int, output_size: int) -> list[Chain]:
    """All chains of all of `denses` whose sizes fit; the stack takes `input_size` and gives `output_size` features."""
    if len(denses) > _MAX_LAYERS:
        return []
    return [chain for chain in _all_chains(denses) if chain.fits(input_size, output_size)]


def _all_chains(denses: Sequence[Dense]) -> Iterator[Chain]:
    for ordered in permutations(denses):
        for at in range(len(ordered) + 1):
            yield Chain(None, ordered[:at], ordered[at:])
            if at:
                yield Chain(ordered[0], ordered[1:at], ordered[at:])
