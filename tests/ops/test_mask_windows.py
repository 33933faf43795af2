"""Windows of run lengths, against slices of the decoded mask and answers by hand."""

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from tpuseg.ops import mask_windows, masks
from tpuseg.ops.windows import Window


def test_runs_over_several_columns():
    # The example of `crop`: 4 rows, the pixels 2 to 8 in the order of the columns.
    mask = np.zeros((4, 3), np.uint8)
    mask.T.flat[2:9] = 1
    runs = masks.encode(mask)
    assert mask_windows.bounding_window(runs) == Window(0, 0, 4, 3)
    np.testing.assert_array_equal(mask_windows.crop(runs, Window(1, 0, 3, 3)), [[0, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(mask_windows.crop(runs, Window(0, 1, 4, 2)), [[1], [1], [1], [1]])
    np.testing.assert_array_equal(mask_windows.crop(runs, Window(0, 2, 2, 3)), [[1], [0]])


def test_an_empty_mask():
    runs = masks.encode(np.zeros((4, 3), np.uint8))
    assert mask_windows.bounding_window(runs).size == (0, 0)
    assert not mask_windows.crop(runs, Window(0, 0, 4, 3)).any()


@hypothesis.given(
    hypothesis.extra.numpy.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)), st.data()
)
@hypothesis.settings(deadline=None)
def test_a_crop_is_a_slice_of_the_mask(mask, data):
    top, left = (data.draw(st.integers(0, side - 1)) for side in mask.shape)
    bottom, right = data.draw(st.integers(top + 1, mask.shape[0])), data.draw(st.integers(left + 1, mask.shape[1]))
    crop = mask_windows.crop(masks.encode(mask), Window(top, left, bottom, right))
    assert crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, mask[top:bottom, left:right])


def test_an_image_of_more_than_a_billion_pixels():
    # The runs beside the object have 31 bits, which `decode_counts` refuses in files of others.
    runs = masks.run_lengths([[39000, 39010, 39020, 39010, 39020, 39040, 39000, 39040]], 40000, 40000)
    assert mask_windows.bounding_window(runs) == Window(39010, 39000, 39040, 39020) and masks.area(runs) == 600
    crop = mask_windows.crop(runs, Window(39030, 39015, 39050, 39025))
    assert crop[:10, :5].all() and crop.sum() == 50
    with pytest.raises(ValueError, match="damaged"):
        masks.decode_counts(runs["counts"])
