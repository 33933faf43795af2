"""Splits of images with any classes and groups: whole, repeatable, and with a class on both sides where that is possible."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from tpuseg.formats import groups, stratification


@given(
    classes=st.lists(st.frozensets(st.integers(0, 5), max_size=4), min_size=2, max_size=30),
    num_groups=st.integers(2, 30),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_no_single_move_would_bring_a_class_to_a_side(classes, num_groups, share, seed):
    units, numbers = stratification.make_units([str(number % num_groups) for number in range(len(classes))], classes)
    chosen = stratification.choose(units, share, seed)
    assert np.array_equal(chosen, stratification.choose(units, share, seed)) and 0 < chosen.sum() < len(units)
    assert sum(unit.size for unit in units) == len(classes) == len(numbers)
    on_side = {
        (name, side): [number for number, unit in enumerate(units) if name in unit.classes and chosen[number] == side]
        for name in range(6)
        for side in (False, True)
    }
    for name, lacks_val in stratification.find_one_sided(units, chosen):
        assert not on_side[name, lacks_val] and len(on_side[name, not lacks_val]) > 1
        for number in on_side[name, not lacks_val]:
            assert any(len(on_side[other, not lacks_val]) == 1 for other in units[number].classes)


NAMES = st.lists(st.text("ab01._/-", min_size=1, max_size=12), min_size=1, max_size=40)


@given(names=NAMES)
def test_groups_of_any_names(names):
    found = groups.find_groups(names)
    assert len(found.keys) == len(names)
    assert all(found.keys[place] == found.keys[names.index(name)] for place, name in enumerate(names))
