"""What is said where the layers beside the stack are not one embedding and one head: what they are, and what to do."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch

from elman_models.from_state_dict.chains import AFTER, BEFORE, EMBEDDING, HEAD, Chain
from elman_models.from_state_dict.dense import Dense

_COMPUTED = re.compile(r"\.parametrizations\.|_(g|v|orig|raw)$")
"""Names that weight norm, spectral norm, pruning and dropped weights leave behind."""
_BUNDLE = (
    "from weights alone are packed one recurrent stack, an embedding before it and a linear layer (the head) after it"
)
PACK_MODULE = "pack the module itself: elman_models.pack(module, ...)"
"""What remains where weights do not tell."""


def leftovers(rest: Mapping[str, torch.Tensor], denses: Iterable[Dense], input_size: int, output_size: int) -> str:
    """Tensors that no network of embedding, stack and linear layers has."""
    layers = {name for dense in denses if dense.is_layer for name in dense.names}
    strange = {name: tensor for name, tensor in rest.items() if name not in layers}
    if strange:
        computed = any(_COMPUTED.search(name) for name in strange)
        hint = "; fold weights that are computed from others first (remove_parametrizations)" if computed else ""
        none = f"no embedding and no linear layer{hint}, and {_BUNDLE}"
        return f"{_list(strange)}: {none}. {_leave_out(strange)}. Or {PACK_MODULE}"
    return (
        f"beside the recurrent stack stand {_list(rest)}; they are not one embedding [any, {input_size}] and one head "
        f"[any, {output_size}], each defined on its side of the stack, and {_BUNDLE}."
        f"{_by_size(denses, input_size, output_size)} {_leave_out(rest)}. Or {PACK_MODULE}"
    )


def unservable(chain: Chain, input_size: int, output_size: int) -> str:
    """One network, but more than a bundle holds."""
    wrong = [(dense, role) for dense, role in chain.roles() if role in (BEFORE, AFTER)]
    listed = ", ".join(f"{dense.describe()} is {role}{_why(dense)}" for dense, role in wrong)
    denses = [dense for dense, _ in wrong]
    by_size = _by_size(denses, input_size, output_size)
    between = "" if chain.before else f" {_BETWEEN}"
    names = [name for dense in denses for name in dense.names]
    return f"{listed}; {_BUNDLE}.{between}{by_size} {_leave_out(names)}. Or {PACK_MODULE}"


_BETWEEN = (
    "If the layers run one after another, say what is between them: activation (--activation relu, or none), which "
    "packs them all; --golden FILE proves it."
)


def out_of_order(chain: Chain) -> str:
    """Layers that by their sizes run in another order than they are defined in."""
    order = ", ".join(dense.prefix for dense in chain.after)
    return f"by their sizes the layers after the stack run as {order}, but are defined in another order; {PACK_MODULE}"


def open_choice(chains: Sequence[Chain]) -> str:
    """Several networks that the tensors could be."""
    roles: dict[Dense, list[str]] = {}
    for chain in chains:
        for dense, role in chain.roles():
            roles.setdefault(dense, []).append(role)
    unclear = {dense: list(dict.fromkeys(could)) for dense, could in roles.items() if len(set(could)) > 1}
    if not unclear:
        order = f"in which order {', '.join(dense.describe() for dense in chains[0].after)} run is open"
        last = "Of two, say the last: head_key (--head-key)." if len(chains[0].after) == 2 else ""
        return f"{order}. {_UNORDERED}{last} {_OR_PACK}"
    listed = "; ".join(f"{dense.describe()} could be {' or '.join(could)}" for dense, could in unclear.items())
    unordered = any(dense.comes_first is None for dense in unclear)
    return f"{listed}. {_UNORDERED if unordered else ''}Say which it is: {', or '.join(_options(unclear))}"


_UNORDERED = (
    "The order in which the module defines its layers would tell, but this file does not keep it (safetensors sorts by "
    "name, torch.save of a state_dict keeps it). "
)


_OR_PACK = f"Save it so, or {PACK_MODULE}"


def unsure_table(table: Dense) -> str:
    """A matrix that could stand beside the chain."""
    return (
        f"{table.describe()} could be the embedding, or a linear layer without a bias from the input past the stack "
        f"(which no bundle holds). If it is the embedding, say so: embedding_key (--embedding-key {table.prefix})"
    )


def _options(unclear: Mapping[Dense, Sequence[str]]) -> list[str]:
    embeddings = [dense.prefix for dense, could in unclear.items() if EMBEDDING in could]
    heads = [dense.prefix for dense, could in unclear.items() if HEAD in could]
    layers = [dense.prefix for dense, could in unclear.items() if BEFORE in could]
    options = [f"embedding_key (--embedding-key), one of {', '.join(embeddings)}"] * bool(embeddings)
    options += [f"head_key (--head-key), one of {', '.join(heads)}"] * bool(heads)
    options += [f"leave_out ({_flags(layers)}) for a layer before the stack, which no bundle holds"] * bool(layers)
    return options


def _by_size(denses: Iterable[Dense], input_size: int, output_size: int) -> str:
    """What the caller may say of layers that are not where they were looked for."""
    hints = []
    for dense in denses:
        if dense.is_table and dense.shape[1] == input_size:
            hints.append(f"If {dense.prefix} is the embedding, say so: embedding_key (--embedding-key {dense.prefix}).")
        if dense.is_layer and dense.shape[1] == output_size:
            hints.append(f"If {dense.prefix} is the head, say so: head_key (--head-key {dense.prefix}).")
    return "".join(f" {hint}" for hint in hints)


def _why(dense: Dense) -> str:
    if dense.comes_first is None:
        return " by its size"
    return f" (it is defined {'before' if dense.comes_first else 'after'} the stack)"


def _leave_out(names: Iterable[str]) -> str:
    flags = _flags(attributes(names))
    return f"To serve the model without a part, name that in leave_out ({flags}), and apply it yourself"


def _flags(prefixes: Iterable[str]) -> str:
    return " ".join(f"--leave-out {prefix}" for prefix in prefixes)


def attributes(names: Iterable[str]) -> list[str]:
    """The modules (or bare parameters) that tensors of these names belong to, each once."""
    found = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
    return [prefix for prefix in found if not any(prefix.startswith(f"{other}.") for other in found)]


def _list(tensors: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
