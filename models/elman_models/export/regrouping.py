"""A reshape read as what it does to batch, time and features."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import sympy

from elman_models.export.sequences import Sequences
from elman_models.export.sizes import Size
from elman_models.export.traced import Role, Traced

_PARTS = {
    Role.BATCH_TIME: (Role.BATCH, Role.TIME),
    Role.TIME_BATCH: (Role.TIME, Role.BATCH),
}
_JOINED = {parts: joined for joined, parts in _PARTS.items()}


@dataclass
class _Atom:
    role: Role
    size: int = 1
    """Of features."""


def regrouped(
    given: Traced, shape: Sequence[Size], sequences: Sequences
) -> tuple[tuple[Role, ...], tuple[int, ...]] | None:
    """The roles and features of `given` reshaped to `shape`; None: numbers of one row or step get into another's."""
    atoms = _atoms(given)
    roles: list[Role] = []
    features: list[int] = []
    for size in shape:
        role = _take(atoms, size, sequences)
        if role is None:
            return None
        roles.append(role)
        if role is Role.FEATURE:
            features.append(int(size))
    if any(atom.role is not Role.FEATURE or atom.size != 1 for atom in atoms):
        return None
    return tuple(roles), tuple(features)


def _atoms(given: Traced) -> list[_Atom]:
    atoms: list[_Atom] = []
    for axis, role in enumerate(given.roles):
        if role is Role.FEATURE:
            atoms.append(_Atom(role, given.size(axis)))
        elif role is not Role.UNIT:
            atoms += [_Atom(part) for part in _PARTS.get(role, (role,))]
    return atoms


def _take(atoms: list[_Atom], size: Size, sequences: Sequences) -> Role | None:
    """The role of an axis of `size`, made of the next atoms, which are taken away."""
    while atoms and atoms[0].role is Role.FEATURE and atoms[0].size == 1 and size != 1:
        atoms.pop(0)
    if isinstance(size, sympy.Expr):
        return _take_open(atoms, size, sequences)
    if size == 1:
        if atoms and atoms[0].role is Role.FEATURE and atoms[0].size == 1:
            atoms.pop(0)
        return Role.FEATURE
    return _take_features(atoms, size)


def _take_open(atoms: list[_Atom], size: sympy.Expr, sequences: Sequences) -> Role | None:
    known = {Role.BATCH: sequences.batch, Role.TIME: sequences.time}
    first = atoms[0].role if atoms else Role.FEATURE
    if first is Role.FEATURE:
        return None
    if known[first] is not None and sympy.simplify(size - known[first]) == 0:
        atoms.pop(0)
        return first
    pair = tuple(atom.role for atom in atoms[:2])
    sizes = [known.get(role) for role in pair]
    if pair not in _JOINED or any(part is None for part in sizes) or sympy.simplify(size - prod(sizes)) != 0:  # type: ignore[arg-type]
        return None
    del atoms[:2]
    return _JOINED[pair]


def _take_features(atoms: list[_Atom], size: int) -> Role | None:
    left = size
    while left > 1:
        if not atoms or atoms[0].role is not Role.FEATURE:
            return None
        here = atoms[0].size
        if here <= left and left % here == 0:
            left //= here
            atoms.pop(0)
        elif here % left == 0:
            atoms[0].size = here // left
            left = 1
        else:
            return None
    return Role.FEATURE
