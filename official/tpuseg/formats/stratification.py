"""A split that gives both sides their share of every class.

This is iterative stratification (Sechidis et al., On the Stratification of Multi-label Data, ECML PKDD 2011, algorithm 1) for two
sides, and for images in groups.
"""

import collections
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np


class Unit(NamedTuple):
    """Images that stay together.

    Attributes:
      size: how many there are.
      classes: how many of them each class occurs in.
    """

    size: int
    classes: dict[int, int]


def make_units(keys: Sequence[str], classes: Sequence[Set[int]]) -> tuple[list[Unit], list[int]]:
    """Returns the units of images with the same key, and the unit of every image.

    Args:
      keys: of the images.
      classes: that occur in each image.
    """
    places: dict[str, int] = {}
    numbers = [places.setdefault(key, len(places)) for key in keys]
    sizes = collections.Counter(numbers)
    counts: list[collections.Counter[int]] = [collections.Counter() for _ in places]
    for number, found in zip(numbers, classes, strict=True):
        counts[number].update(found)
    return [Unit(sizes[number], dict(counts[number])) for number in range(len(places))], numbers


def choose(units: Sequence[Unit], share: float, seed: int) -> np.ndarray:
    """Chooses units for validation.

    The class with the fewest units that are left comes first. Each of its units goes to the side that still wants most images of
    the class, and among equals to that which wants most images. Validation wants its share of every class, but at least one unit
    of those that have two. What still lacks at a side then is moved there if nothing is lost by it.

    Args:
      units: at least two.
      share: of the images, for validation; above 0 and below 1.
      seed: decides between equals.

    Returns:
      [N] bool, whether each unit is for validation.
    """
    order = np.random.default_rng(seed).permutation(len(units)).tolist()
    holders: dict[int, list[int]] = collections.defaultdict(list)
    for number in order:
        for name in units[number].classes:
            holders[name].append(number)
    is_val = np.zeros(len(units), bool)
    wanted = _Wanted(units, holders, share)
    left = set(range(len(units)))
    remaining = {name: len(numbers) for name, numbers in holders.items()}
    while remaining:
        rarest = min(remaining, key=lambda name: (remaining[name], name))
        for number in holders[rarest]:
            if number in left:
                left.discard(number)
                is_val[number] = wanted.take(units[number], rarest)
                for name in units[number].classes:
                    if name in remaining:
                        remaining[name] -= 1
        del remaining[rarest]
    for number in order:
        if number in left:
            is_val[number] = wanted.take(units[number], None)
    _repair(units, holders, is_val)
    return is_val


class _Wanted:
    """How many images, and images of every class, each side still wants."""

    def __init__(self, units: Sequence[Unit], holders: dict[int, list[int]], share: float) -> None:
        total = sum(unit.size for unit in units)
        self._images = [total * (1 - share), total * share]
        self._classes: dict[int, list[float]] = {}
        for name, numbers in holders.items():
            counts = [units[number].classes[name] for number in numbers]
            val = share * sum(counts)
            if len(numbers) > 1:
                val = min(max(val, min(counts)), sum(counts) - min(counts))
            self._classes[name] = [sum(counts) - val, val]

    def take(self, unit: Unit, name: int | None) -> bool:
        """Returns whether a unit goes to validation, and takes it off what is wanted."""
        train, val = self._images if name is None else self._classes[name]
        if train == val:
            train, val = self._images
        side = int(val > train)
        self._images[side] -= unit.size
        for other, count in unit.classes.items():
            self._classes[other][side] -= count
        return bool(side)


def one_sided(units: Sequence[Unit], is_val: Sequence[bool] | np.ndarray) -> list[tuple[int, bool]]:
    """Returns the classes of two units or more that a side lacks, and whether that is validation."""
    sides: dict[int, list[int]] = collections.defaultdict(lambda: [0, 0])
    for number, unit in enumerate(units):
        for name in unit.classes:
            sides[name][int(is_val[number])] += 1
    return [(name, not counts[1]) for name, counts in sorted(sides.items()) if sum(counts) > 1 and 0 in counts]


def _repair(units: Sequence[Unit], holders: dict[int, list[int]], is_val: np.ndarray) -> None:
    """Moves units, the smallest first, so that classes occur on both sides, without taking another class from a side."""
    per_side: dict[int, list[int]] = collections.defaultdict(lambda: [0, 0])
    for number, unit in enumerate(units):
        for name in unit.classes:
            per_side[name][int(is_val[number])] += 1
    has_moved = True
    while has_moved:  # A move can make another one possible.
        has_moved = False
        for name, lacks_val in one_sided(units, is_val):
            source = int(not lacks_val)
            movable = [
                number
                for number in sorted(holders[name], key=lambda number: units[number].size)
                if not per_side[name][1 - source] and all(per_side[other][source] > 1 for other in units[number].classes)
            ]
            for number in movable[:1]:
                is_val[number], has_moved = lacks_val, True
                for other in units[number].classes:
                    per_side[other][source] -= 1
                    per_side[other][1 - source] += 1
    for side in (False, True):
        if (is_val == side).all():
            is_val[min(range(len(units)), key=lambda number: units[number].size)] = not side
