"""Image files of other numbers of channels with flipped, missing and inserted bytes: their values, or one line with the name."""

import functools
import pathlib

import channel_images
import hypothesis.strategies as st
import numpy as np
import odd_images
import pytest
from hypothesis import given
from outcomes import result_or_error

from tpuseg.io import image_channels

VALID = {
    "png_grey": odd_images.encode(channel_images.values(1)[..., 0]),
    "png_transparent": odd_images.encode(channel_images.values(4)),
    "png_16_transparent": odd_images.png_of_16_bits(channel_images.values(4, 16)),
    "jpeg_grey": odd_images.encode(channel_images.values(1)[..., 0], "JPEG"),
    "tiff": channel_images.tiff(channel_images.values(5)),
    "tiff_16": channel_images.tiff(channel_images.values(5, 16)),
    "tiff_separate": channel_images.tiff(channel_images.values(5), "separate"),
    "tiff_pages": channel_images.tiff(channel_images.values(5), "pages"),
    "tiff_tiles": channel_images.tiff(channel_images.values(5), tile=(16, 16), compression="deflate"),
}


@st.composite
def damaged(draw):
    """Returns the bytes of an image of which some are others, most of them in its header."""
    data = bytearray(VALID[draw(st.sampled_from(sorted(VALID)))])
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([64, 400, len(data)])))))
        change = draw(st.sampled_from(["set", "set", "cut", "insert"]))
        if change == "set":
            data[place] = draw(st.sampled_from([0, 1, 2, 4, 8, 127, 128, 255, draw(st.integers(0, 255))]))
        elif change == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif place > 8:
            del data[place:]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@given(damaged(), st.sampled_from([1, 2, 4, 5]), st.sampled_from([(), (0.0, 4095.0)]))
def test_an_image_is_its_values_or_one_line(data, num_channels, pixel_range):
    read = functools.partial(image_channels.read, data, "folder/a.tif", num_channels, pixel_range)
    found, message = result_or_error(read, "folder/a.tif")
    if not message:
        assert found.pixels.dtype == np.uint8 and found.pixels.ndim == 3 and found.pixels.shape[2] == num_channels
        assert 1 <= found.orientation <= 8
    assert pathlib.Path(message[:100]).name or not message
