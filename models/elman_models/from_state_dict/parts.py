"""The embedding and the head of a state_dict: taken only where what stands beside the stack can be one thing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from elman_models.errors import WeightsError
from elman_models.from_state_dict.chains import AFTER, BEFORE, EMBEDDING, HEAD, Chain, find_chains
from elman_models.from_state_dict.dense import Dense, find_denses
from elman_models.from_state_dict.listed import comes_before
from elman_models.from_state_dict.part_errors import leftovers, open_choice, out_of_order, unservable, unsure_table

NONE = "none"
"""As a key: the model has no such part."""


@dataclass(frozen=True)
class Parts:
    """What stands around the stack; one `Dense` as embedding and last layer is a head tied to the embedding."""

    embedding: Dense | None
    after: tuple[Dense, ...]
    """The linear layers after it, in order."""


@dataclass(frozen=True)
class Keys:
    """What the caller says of the parts: an attribute's name, `none`, or None to find it."""

    embedding: str | None = None
    head: str | None = None
    is_known_between: bool = False
    """Whether what stands between several linear layers after the stack is said, and so that they run in a row."""

    def allow(self, chain: Chain) -> bool:
        """Whether the chain is as the caller says; of what nothing is said, whether order and name allow it."""
        return all(self._allow(dense, role, dense is chain.head) for dense, role in chain.roles())

    def _allow(self, dense: Dense, role: str, is_last: bool) -> bool:
        if dense.prefix == self.embedding:
            return role == EMBEDDING
        if dense.prefix == self.head:
            return is_last
        if (role == EMBEDDING and self.embedding) or (role == HEAD and self.head):
            return False  # another is, or none
        return _order_allows(dense, role) and _name_allows(dense, role)


def _order_allows(dense: Dense, role: str) -> bool:
    """What is defined before the stack stands before it, and a layer that is defined after it, after it; an embedding,
    which can stand nowhere else, may be defined late."""
    if dense.comes_first is None:
        return True
    return role not in ((HEAD, AFTER) if dense.comes_first else (BEFORE,))


def _name_allows(dense: Dense, role: str) -> bool:
    # A name tells an embedding that is defined late from a head; nothing else: `linear` and `proj` may be anything.
    if dense.comes_first is not False:
        return True
    if role == EMBEDDING:
        return dense.said != "head"
    return role != HEAD or dense.said != "embedding" or not dense.is_table


def find_parts(
    rest: Mapping[str, torch.Tensor], first: Mapping[str, bool | None], input_size: int, output_size: int, keys: Keys
) -> Parts:
    """The embedding and the head among `rest`, the tensors beside the stack; or several layers in the head's place.

    Args:
        rest: by name; each must find its part.
        first: whether each is defined before the stack; None where neither the file's order nor a number tells.
        input_size, output_size: features that the stack takes and gives.
        keys: what the caller says.

    Raises:
        WeightsError: tensors without a part, a part that no bundle holds, a choice that sizes, order and names leave
            open, or a key that does not fit.
    """
    denses = find_denses(rest, first)
    known = _known(keys.embedding, denses, "embedding_key"), _known(keys.head, denses, "head_key")
    keys = Keys(*known, keys.is_known_between)
    _check_keyed(denses, keys, input_size, output_size)
    if keys.embedding == keys.head and keys.head not in (None, NONE):
        return _tied(denses, rest, keys)
    chains = [chain for chain in find_chains(denses, input_size, output_size) if chain.names == set(rest)]
    chains = [chain for chain in chains if keys.allow(chain)]
    return _only(chains, denses, rest, (input_size, output_size), keys)


def _only(
    chains: Sequence[Chain],
    denses: Sequence[Dense],
    rest: Mapping[str, torch.Tensor],
    sizes: tuple[int, int],
    keys: Keys,
) -> Parts:
    if not chains:
        raise WeightsError(leftovers(rest, denses, *sizes))
    if not any(chain.is_servable(keys.is_known_between) for chain in chains):
        raise WeightsError(unservable(chains[0], *sizes))
    if keys.is_known_between:
        chains = [chain for chain in chains if chain.is_in_order] or list(chains)
    if len({chain.computes() for chain in chains}) > 1:
        raise WeightsError(open_choice(chains))
    if not any(chain.is_in_order for chain in chains):
        raise WeightsError(out_of_order(chains[0]))
    unsure = []
    for chain in chains:  # several only where tied matrices may change places
        if chain.table is None or chain.table.prefix == keys.embedding or _is_sure(chain.table, chain.head, sizes[1]):
            return Parts(chain.table, chain.after)
        unsure.append(chain.table)
    raise WeightsError(unsure_table(unsure[0]))


def _is_sure(table: Dense, head: Dense | None, output_size: int) -> bool:
    """Whether the embedding can be nothing beside the chain: a linear layer from the input to the output, or to the
    stack's, has the same shape, and only a name tells, or being tied."""
    if table.said == "embedding" or (head and head.memory == table.memory):
        return True
    if head and table.comes_first and head.comes_first is False and comes_before(table.prefix, head.prefix):
        return True  # in one nn.Sequential with the stack
    return table.comes_first is not False and table.shape[0] not in {output_size, head.shape[0] if head else 0}


def _known(key: str | None, denses: Iterable[Dense], option: str) -> str | None:
    """The prefix that `key` means.

    Raises:
        WeightsError: there is none.
    """
    if key is None or key == NONE:
        return key
    prefix = key.removesuffix(".weight").rstrip(".")
    known = [dense.prefix for dense in denses]
    if prefix not in known:
        raise WeightsError(
            f"{option}: there is no {prefix}.weight beside the stack; there are {', '.join(known) or NONE}"
        )
    return prefix


def _check_keyed(denses: Iterable[Dense], keys: Keys, input_size: int, output_size: int) -> None:
    for dense in denses:
        if dense.prefix == keys.embedding and not (dense.is_table and dense.shape[1] == input_size):
            raise WeightsError(f"embedding_key: expected [any, {input_size}] without a bias, got {dense.describe()}")
        if dense.prefix == keys.head and dense.shape[1:] != (output_size,) and not keys.is_known_between:
            raise WeightsError(f"head_key: expected [any, {output_size}], got {dense.describe()}")
        if dense.prefix == keys.head and not dense.is_layer:
            expected, got = [dense.shape[0]], list(dense.bias_shape or ())
            raise WeightsError(f"head_key: {dense.names[1]}: expected {expected}, got {got}")


def _tied(denses: Sequence[Dense], rest: Mapping[str, torch.Tensor], keys: Keys) -> Parts:
    tied = next(dense for dense in denses if dense.prefix == keys.head)
    others = [name for name in rest if name not in tied.names]
    if others:
        raise WeightsError(f"embedding_key and head_key: both are {keys.head}, but there are {', '.join(others)}, too")
    return Parts(tied, (tied,))
