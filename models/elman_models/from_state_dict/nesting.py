"""The state_dict within a checkpoint: training scripts nest it under keys of their own."""

from collections.abc import Iterable, Iterator, Mapping

import torch

from elman_models.errors import WeightsError

_MAX_DEPTH = 4
"""Keys above a state_dict: a pickle can make a mapping that holds itself."""
_MAX_LISTED = 8


def take_state_dict(loaded: object, key: str | None, where: str) -> tuple[str, dict[str, torch.Tensor]]:
    """The state_dict in `loaded`, whatever key it is under, after that key; "": it is all there is.

    Args:
        loaded: what the file holds.
        key: of the state_dict (`ema`, `generator.state_dict`), where there are several, or of a part of the one that
            there is (`ema_model`); None: there is one.
        where: names the file in errors.

    Raises:
        WeightsError: none, several and no key, no such key, or tensors beside it that belong to nothing.
    """
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{where}: expected a state_dict (a mapping of names to tensors), got {_type(loaded)}")
    found = dict(_state_dicts(loaded, (), set()))
    path, taken = _by_key(found, key, where) if key is not None else _alone(loaded, found, where)
    return path, {str(name): tensor.detach() for name, tensor in taken.items()}


def _state_dicts(
    mapping: Mapping[object, object], path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[str, Mapping[object, torch.Tensor]]]:
    if mapping and all(_is_named_tensor(name, value) for name, value in mapping.items()):
        if any(tensor.ndim for tensor in mapping.values()):  # type: ignore[attr-defined]  # else scores and counts
            yield ".".join(path), mapping  # type: ignore[misc]  # all its values are tensors
        return
    if id(mapping) in seen or len(path) > _MAX_DEPTH:
        return
    seen.add(id(mapping))
    for name, value in mapping.items():
        if isinstance(name, str) and isinstance(value, Mapping):
            yield from _state_dicts(value, (*path, name), seen)


def _by_key(
    found: Mapping[str, Mapping[object, torch.Tensor]], key: str, where: str
) -> tuple[str, Mapping[object, torch.Tensor]]:
    meant = [path for path in found if path == key or path.startswith(f"{key}.")]
    if not meant and len(found) == 1:
        (alone,) = found.values()
        within = {str(name).removeprefix(f"{key}."): t for name, t in alone.items() if str(name).startswith(f"{key}.")}
        if within:
            return key, within  # type: ignore[return-value]
    if len(meant) != 1:
        what = f"holds {_listed(meant)}; say which" if meant else f"is no state_dict; there are: {_listed(found)}"
        raise WeightsError(f"{where}: key (--key): {key!r} {what}")
    return meant[0], found[meant[0]]


def _alone(
    loaded: Mapping[object, object], found: Mapping[str, Mapping[object, torch.Tensor]], where: str
) -> tuple[str, Mapping[object, torch.Tensor]]:
    if not loaded:
        raise WeightsError(f"{where}: expected a state_dict, got an empty mapping")
    if not found:
        others = [f"{key} ({_type(value)})" for key, value in loaded.items() if not _is_named_tensor(key, value)]
        others = others or [f"{key} (one number)" for key in loaded]
        raise WeightsError(
            f"{where}: expected a state_dict, names with tensors only, got also {', '.join(others[:_MAX_LISTED])}"
        )
    if len(found) > 1:
        raise WeightsError(f"{where}: holds several state_dicts, {_listed(found)}; choose one with key (--key)")
    (path, taken), *_ = found.items()
    beside = [] if taken is loaded else [str(key) for key, value in loaded.items() if _is_data(value)]
    if beside:
        raise WeightsError(
            f"{where}: beside the state_dict {path} stand the tensors {_listed(beside)}; if the model does without "
            f"them, say so with key (--key {path})"
        )
    return path, taken


def _is_named_tensor(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor)


def _is_data(value: object) -> bool:
    """Whether a tensor may belong to the model: a mean, a scale; not a loss or a generator's state."""
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 0


def _listed(names: Iterable[str]) -> str:
    listed = [name or "the file itself (without a key)" for name in names]
    more = f" and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
    return (", ".join(listed[:_MAX_LISTED]) or "none") + more


def _type(value: object) -> str:
    return type(value).__name__
