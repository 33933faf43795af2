"""Numbers with their nouns, as messages show them."""

import pytest

from tpuseg.utils.messages import format_count, plural


@pytest.mark.parametrize(
    ("count", "forms", "expected"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
        (1, ("image is", "images are"), "1 image is"),
        (12, ("image is", "images are"), "12 images are"),
    ],
)
def test_a_noun_has_the_form_of_its_number(count, forms, expected):
    assert format_count(count, *forms) == expected
    assert f"{count} {plural(count, *forms)}" == expected
