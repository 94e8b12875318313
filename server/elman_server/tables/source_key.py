"""A key of the source that compiled functions are made of: what is kept on disk is kept for exactly this source."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def source_key(package: Path, mark: bytes) -> str:
    """A key that changes with every file that a compiled function can depend on.

    A compiled function contains the functions that it calls and the constants that it names, wherever these are
    defined. So the files are those that contain `mark`, and all of the package that they import, directly or not.

    Args:
        package: a package's folder; sub-packages are looked through, too.
        mark: what a file with compiled functions contains: their decorator.

    Returns:
        16 hexadecimal digits.
    """
    files = _files_by_module(package)
    waiting = [name for name, path in files.items() if mark in path.read_bytes()]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [one for one in _imported(files[name], name, package.name) if one in files]
    return _digest(package, [files[name] for name in sorted(found)])


def _files_by_module(package: Path) -> dict[str, Path]:
    return {_module(package, path): path for path in package.rglob("*.py")}


def _module(package: Path, path: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, name: str, package: str) -> Iterator[str]:
    # Every name that may be a module of the package, with the packages that it is in: their __init__ runs, too.
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, path, name)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for one in names:
            parts = one.split(".")
            if parts[0] == package:
                yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _base(node: ast.ImportFrom, path: Path, name: str) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    inside = parts if path.name == "__init__.py" else parts[:-1]
    return ".".join([*inside[: len(inside) + 1 - node.level], *([node.module] if node.module else [])])


def _digest(package: Path, paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        source = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(source)}\0".encode())
        digest.update(source)
    return digest.hexdigest()[:16]
