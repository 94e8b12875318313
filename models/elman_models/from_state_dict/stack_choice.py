"""Which of the recurrent stacks in a state_dict are the model's: one, or those of one list, which run in a row."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from elman_models.errors import WeightsError
from elman_models.from_state_dict.listed import listed
from elman_models.from_state_dict.part_errors import PACK_MODULE, attributes
from elman_models.from_state_dict.recurrent import Recurrent


def choose_stacks(stacks: Mapping[str, Recurrent], key: str | None, kept: Iterable[str]) -> list[Recurrent]:
    """One; or several, of which each reads the one before: cells in a ModuleList, stacks in a Sequential. Such cells as
    can be the layers of one stack are one.

    Args:
        stacks: by prefix.
        key: what the caller says: the stack's prefix, or the list's.
        kept: the names of all tensors.

    Raises:
        WeightsError: none, no such key, or several that are no such list, or might run beside each other.
    """
    if not stacks:
        raise WeightsError(
            "no recurrent stack: no tensor is named like weight_ih_l0, as torch.nn.LSTM's are; "
            f"there are {', '.join(list(attributes(kept))[:8]) or 'none'}"
        )
    known = ", ".join(prefix or "(no prefix)" for prefix in stacks)
    chosen = None if key is None else key.rstrip(".")
    parent = _parent(stacks) if len(stacks) > 1 else None
    if chosen is not None and chosen not in stacks and chosen != parent:
        raise WeightsError(f"rnn_key: no recurrent stack {key!r}; there are {known}")
    if len(stacks) == 1:
        return list(stacks.values())
    if parent is None or chosen in stacks:
        raise WeightsError(f"several recurrent stacks: {known}; {_what_to_do(stacks, chosen)}")
    row = sorted(stacks.values(), key=lambda stack: _number(stack.prefix))
    _check_chain(row)
    _check_between(parent, row, kept)
    if chosen is None and not _is_sure(row):
        raise WeightsError(
            f"several recurrent stacks: {known}; by their sizes they could run one after another or beside each other. "
            f"If each reads the one before, say so: rnn_key (--rnn-key {parent or '.'}), which --golden FILE proves; "
            f"else {PACK_MODULE}"
        )
    return _merged(parent, row)


def in_words(row: Sequence[Recurrent]) -> str:
    """What is assumed of several, or of cells that were made one stack; empty of one that the state_dict has."""
    prefixes = list(dict.fromkeys(name.rpartition(".")[0] for stack in row for name in stack.names.values()))
    return f"{', '.join(prefixes)} run in that order, nothing but dropout between them" if len(prefixes) > 1 else ""


def _parent(stacks: Iterable[str]) -> str | None:
    """The list that all are in; None: they are in none, or in several."""
    places = [listed(prefix) for prefix in stacks]
    parents = {place[0] if place else None for place in places}
    return parents.pop() if len(parents) == 1 else None


def _number(prefix: str) -> int:
    place = listed(prefix)
    return place[1] if place else 0


def _what_to_do(stacks: Iterable[str], chosen: str | None) -> str:
    flags = " ".join(f"--leave-out {prefix}" for prefix in stacks if prefix and prefix != chosen)
    what = f"name the others in leave_out ({flags})" if chosen else "name all but one in leave_out (--leave-out)"
    copies = {prefix.partition(".")[2] for prefix in stacks}
    key = (
        " If they are copies of one model, choose one with key (--key)." if copies != {""} and len(copies) == 1 else ""
    )
    return (
        "from weights alone one is packed, or those of one ModuleList or Sequential. If one alone is to be served, "
        f"{what}: else a part of the model would be lost without a word.{key} If all are, {PACK_MODULE}"
    )


def _check_chain(row: Sequence[Recurrent]) -> None:
    for one, after in pairwise(row):
        if after.input_size != one.output_size:
            raise WeightsError(
                f"several recurrent stacks: {one.prefix} gives {one.output_size} features and {after.prefix} takes "
                f"{after.input_size}, so they do not run one after another; {PACK_MODULE}"
            )


def _check_between(parent: str, row: Sequence[Recurrent], kept: Iterable[str]) -> None:
    own = {name for stack in row for name in stack.names.values()}
    first, last = _number(row[0].prefix), _number(row[-1].prefix)
    lead = f"{parent}." if parent else ""
    for name in kept:
        number = name.removeprefix(lead).partition(".")[0] if name.startswith(lead) and name not in own else ""
        place = listed(number)
        if place and first <= place[1] <= last:
            raise WeightsError(f"{name}: stands between {row[0].prefix} and {row[-1].prefix}; {PACK_MODULE}")


def _is_sure(row: Sequence[Recurrent]) -> bool:
    """Whether they run one after another: they cannot all read one input; or stand in a Sequential, which alone has
    numbers of what has no weights."""
    numbers = [_number(stack.prefix) for stack in row]
    has_gaps = any(after - one > 1 for one, after in pairwise(numbers))
    return has_gaps or len({stack.input_size for stack in row}) > 1


def _merged(parent: str, row: Sequence[Recurrent]) -> list[Recurrent]:
    """One stack of several layers, where `torch.nn.LSTM` has such."""
    kinds = {(one.num_layers, one.bidirectional, one.proj_size, one.hidden_size, one.bias, one.rows) for one in row}
    if len(kinds) > 1 or row[0].num_layers > 1 or row[0].bidirectional or row[0].proj_size:
        return list(row)
    names, shapes = {}, {}
    for layer, one in enumerate(row):
        for name, given in one.names.items():
            canonical = f"{name.removesuffix('_l0')}_l{layer}"
            names[canonical], shapes[canonical] = given, one.shapes[name]
    return [Recurrent(parent, names, shapes)]
