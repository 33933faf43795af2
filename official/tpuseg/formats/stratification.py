"""Splitting images so that the training and the validation split both have their share of every class.

This is iterative stratification (Sechidis et al., On the Stratification of Multi-label Data, ECML PKDD 2011, algorithm 1) for two
splits, called sides here, and for images in groups.
"""

import collections
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np


class Unit(NamedTuple):
    """Images that must be in the same split.

    Attributes:
      size: number of images.
      classes: number of these images in which each class occurs, by class.
    """

    size: int
    classes: dict[int, int]


def make_units(keys: Sequence[str], classes: Sequence[Set[int]]) -> tuple[list[Unit], list[int]]:
    """Returns the units of images with the same key, and the unit of every image.

    Args:
      keys: key of each image.
      classes: classes that occur in each image.
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

    The class with the fewest remaining units comes first. Each of its units is assigned to the side that still needs most images of
    the class, and if both need the same number, to the side that needs most images. Validation needs its share of every class, and
    at least one unit of each class that has two. If a side lacks a class afterwards, a unit is moved to it, provided that the other
    side does not lose a class.

    Args:
      units: N units, at least two.
      share: fraction of the images for validation; above 0 and below 1.
      seed: seed of the order of the units, which decides between equal choices.

    Returns:
      [N] bool, whether each unit is for validation.
    """
    order = np.random.default_rng(seed).permutation(len(units)).tolist()
    holders: dict[int, list[int]] = collections.defaultdict(list)
    for number in order:
        for name in units[number].classes:
            holders[name].append(number)
    is_val = np.zeros(len(units), bool)
    needs = _Needs(units, holders, share)
    left = set(range(len(units)))
    remaining = {name: len(numbers) for name, numbers in holders.items()}
    while remaining:
        rarest = min(remaining, key=lambda name: (remaining[name], name))
        for number in holders[rarest]:
            if number in left:
                left.discard(number)
                is_val[number] = needs.assign(units[number], rarest)
                for name in units[number].classes:
                    if name in remaining:
                        remaining[name] -= 1
        del remaining[rarest]
    for number in order:
        if number in left:
            is_val[number] = needs.assign(units[number], None)
    _repair(units, holders, is_val)
    return is_val


class _Needs:
    """The number of images, and of images of every class, that each side still needs."""

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

    def assign(self, unit: Unit, name: int | None) -> bool:
        """Returns whether a unit is assigned to validation, and subtracts it from the numbers of that side."""
        train, val = self._images if name is None else self._classes[name]
        if train == val:
            train, val = self._images
        side = int(val > train)
        self._images[side] -= unit.size
        for other, count in unit.classes.items():
            self._classes[other][side] -= count
        return bool(side)


def find_one_sided(units: Sequence[Unit], is_val: Sequence[bool] | np.ndarray) -> list[tuple[int, bool]]:
    """Returns the classes that occur in two units or more but only on one side, and whether validation lacks them."""
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
        for name, lacks_val in find_one_sided(units, is_val):
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
