"""What a checkpoint of Lightning tells of its training: `hyper_parameters`, read without running anything."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

KEY = "hyper_parameters"
_MAX_DEPTH = 4
_MAX_TEXT = 64
_MAX_LISTED = 16

HyperParameters = Mapping[str, bool | int | float | str]


class _Namespace:
    """What stands for an argparse.Namespace: its attributes alone."""


def _path(*parts: object) -> str:
    """What stands for a path: its text."""
    return "/".join(str(part) for part in parts).replace("//", "/")


STAND_INS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    *(
        (OrderedDict, f"{package}.AttributeDict")
        for package in (
            "lightning.fabric.utilities.data",
            "lightning_fabric.utilities.data",
            "lightning.pytorch.utilities.parsing",
            "pytorch_lightning.utilities.parsing",
        )
    ),
    (_Namespace, "argparse.Namespace"),
    *((_path, f"{module}.{kind}Path") for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")),
]
"""For `torch.serialization.safe_globals`: plain classes of ours in the place of those that Lightning's checkpoints may
hold, so that none of anybody else's is imported or called."""


def read_hyper_parameters(loaded: object) -> dict[str, bool | int | float | str]:
    """The numbers and texts under `hyper_parameters`, those of mappings and namespaces within as `args.hidden`; none
    where a checkpoint has no such key."""
    given = loaded.get(KEY) if isinstance(loaded, Mapping) else None
    return dict(_scalars(given, (), set())) if not isinstance(given, bool | int | float | str) else {}


def in_words(given: HyperParameters) -> str:
    """On one line, the first of them."""
    told = [f"{name}={value!r}" for name, value in given.items()]
    more = f" and {len(told) - _MAX_LISTED} more" if len(told) > _MAX_LISTED else ""
    return ", ".join(told[:_MAX_LISTED]) + more


def said(given: HyperParameters, word: str) -> object:
    """What they say for that word, in whatever mapping it stands; None where nothing, or more than one thing."""
    values = {value for name, value in given.items() if name.rpartition(".")[2] == word}
    return values.pop() if len(values) == 1 else None


def _scalars(given: object, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, bool | int | float | str]]:
    if isinstance(given, _Namespace):
        given = vars(given)
    if isinstance(given, Mapping):
        if id(given) in seen or len(path) > _MAX_DEPTH:
            return
        seen.add(id(given))  # a pickle can make a mapping that holds itself
        for name, value in given.items():
            if isinstance(name, str) and name.isidentifier():
                yield from _scalars(value, (*path, name), seen)
    elif isinstance(given, bool | int | float) or (isinstance(given, str) and len(given) <= _MAX_TEXT):
        yield ".".join(path), given
