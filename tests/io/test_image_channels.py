"""Files of other numbers of channels than three: the same values in conversion, records, prediction and exports."""

import json
import logging
import zlib

import channel_images
import numpy as np
import odd_images
import PIL.Image
import pytest
import tensorflow as tf
import tifffile

from tpuseg.data import records
from tpuseg.io import image_channels, image_files

COUNTS = (1, 2, 4, 5)


@pytest.mark.parametrize("num_channels", (1, 4, 5))
@pytest.mark.parametrize("bits", (8, 16))
def test_files_have_their_values(num_channels, bits):
    values = channel_images.values(num_channels, bits)
    data, _ = channel_images.encode(values)
    pixel_range = () if bits == 8 else (0.0, 4095.0)
    read = image_channels.decode(data, num_channels, pixel_range=pixel_range)
    # By hand: 12 bits to 8 are their upper ones.
    np.testing.assert_array_equal(read.pixels, values if bits == 8 else values >> 4)
    assert (read.wide is None) == (bits == 8) and (bits == 8 or read.wide.largest == values.max())


@pytest.mark.parametrize("num_channels", COUNTS)
def test_wide_values_without_a_range_are_narrowed_as_everywhere(num_channels):
    values = channel_images.values(num_channels, 16) * np.uint16(16)
    data = channel_images.tiff(values) if num_channels == 2 else channel_images.encode(values)[0]
    np.testing.assert_array_equal(image_channels.decode(data, num_channels).pixels, values >> 8)


@pytest.mark.parametrize("form", ["contig", "separate", "pages"])
@pytest.mark.parametrize("num_channels", (2, 4, 5))
def test_tiffs_of_every_form(form, num_channels):
    values = channel_images.values(num_channels)
    for options in ({}, {"compression": "deflate"}, {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}):
        data = channel_images.tiff(values, form, **options)
        np.testing.assert_array_equal(image_channels.decode(data, num_channels).pixels, values, str(options))


def test_smaller_copies_in_a_tiff_are_no_channels(tmp_path):
    values = channel_images.values(5)
    path = str(tmp_path / "a.tif")
    with tifffile.TiffWriter(path) as file:
        file.write(values, photometric="minisblack", planarconfig="contig")
        file.write(values[::2, ::2], photometric="minisblack", planarconfig="contig", subfiletype=1)
    np.testing.assert_array_equal(image_channels.decode(path, 5).pixels, values)


@pytest.mark.parametrize("count", [4, 5])
def test_a_tiffs_orientation_is_applied_or_ignored(count):
    values = channel_images.values(count)
    data = channel_images.tiff(values, extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(image_channels.decode(data, count).pixels, np.rot90(values, -1))
    np.testing.assert_array_equal(image_channels.decode(data, count, exif="ignore").pixels, values)


def test_floats_need_a_range():
    values = channel_images.values(5).astype(np.float32) / 255
    with pytest.raises(ValueError, match=r"float values from .* --pixel_range=LOW,HIGH"):
        image_channels.decode(channel_images.tiff(values), 5)
    read = image_channels.decode(channel_images.tiff(values), 5, pixel_range=(0, 1)).pixels
    assert np.abs(read.astype(int) - channel_images.values(5)).max() <= 1


def test_transparency_is_a_channel_and_multiplies_nothing():
    values = channel_images.values(4)
    values[..., 3] = 0
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(image_channels.decode(odd_images.encode(values, kind), 4).pixels, values)
    grey = values[..., :2].copy()
    np.testing.assert_array_equal(image_channels.decode(odd_images.encode(grey), 2).pixels, grey)


def test_grey_images_are_one_channel_however_they_are_stored():
    grey = channel_images.values(1)
    rgb = np.repeat(grey, 3, axis=2)
    for data in (
        odd_images.encode(rgb),
        odd_images.encode(rgb, "TIFF"),
        odd_images.encode(grey[..., 0], "TIFF"),
        odd_images.encode(PIL.Image.fromarray(grey[..., 0]).convert("P")),
        odd_images.encode(np.concatenate([grey, grey[::-1]], -1)),
    ):
        np.testing.assert_array_equal(image_channels.decode(data, 1).pixels, grey)


WRONG = {
    "rgb_for_1": (odd_images.encode(channel_images.values(3)), 1, "has 3 channels, but the required number is 1"),
    "rgb_for_4": (odd_images.encode(channel_images.values(3)), 4, "has 3 channels, but the required number is 4"),
    "rgba_for_1": (odd_images.encode(channel_images.values(4)), 1, "has 4 channels, but the required number is 1"),
    "jpeg_for_4": (odd_images.encode(channel_images.values(3), "JPEG"), 4, "has 3 channels, but the required number is 4"),
    "cmyk_for_4": (
        odd_images.encode(PIL.Image.fromarray(channel_images.values(3)).convert("CMYK"), "JPEG"),
        4,
        "has 3 channels, but the required number is 4",
    ),
    "png_for_5": (odd_images.encode(channel_images.values(4)), 5, "has 4 channels, and only TIFFs have more than 4"),
    "grey_for_2": (odd_images.encode(channel_images.values(1)[..., 0]), 2, "has 1 channel, but the required number is 2"),
    "tiff_of_4_for_5": (channel_images.tiff(channel_images.values(4)), 5, "has 4 channels, and only TIFFs have more than 4"),
    "tiff_of_6_for_5": (channel_images.tiff(channel_images.values(6)), 5, "has 6 channels, but the required number is 5"),
    "tiff_of_6_for_1": (channel_images.tiff(channel_images.values(6)), 1, "has 6 channels, but the required number is 1"),
    "pages_of_4_for_5": (channel_images.tiff(channel_images.values(4), "pages"), 5, "has 1 channel, and only TIFFs have more"),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_number_of_channels_is_one_line(case, tmp_path):
    data, num_channels, said = WRONG[case]
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(image_channels.WrongChannelsError, match=said) as error:
        image_channels.decode(str(path), num_channels)
    assert str(error.value).startswith(str(path)) and "--num_channels=" in str(error.value)


def test_three_channels_of_a_tiff_with_more_say_where_to_look(tmp_path):
    (tmp_path / "a.tif").write_bytes(channel_images.tiff(channel_images.values(5)))
    with pytest.raises(ValueError, match=r"a.tif cannot be read as an image: it is none of .*; a TIFF of more than 4 channels"):
        image_channels.decode(str(tmp_path / "a.tif"), 3)


def test_damaged_tiffs_are_one_line(tmp_path, caplog):
    data = channel_images.tiff(channel_images.values(5))
    path = tmp_path / "a.tif"
    for broken in (data[:8], data[:200], data[: len(data) // 2], data[:4] + b"\xff" * 4 + data[8:]):
        path.write_bytes(broken)
        with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=r"a\.tif cannot be read as an image: "):
            image_channels.decode(str(path), 5)
    assert not caplog.records


def test_absurd_sizes_are_refused_before_anything_is_decoded(tmp_path):
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, channel_images.values(5), photometric="minisblack", planarconfig="contig")
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[name].overwrite(60000)
    with pytest.raises(ValueError, match="it has 60000x60000 pixels of . channels, more than"):
        image_channels.decode(path, 5)


@pytest.mark.parametrize("num_channels", (1, 2, 4, 5, 9))
def test_records_give_the_same_values(num_channels):
    values = channel_images.values(num_channels)
    data = image_channels.png(values)
    encoded = tf.constant(data)
    np.testing.assert_array_equal(records.decode_image(encoded, num_channels), values)
    assert records.encoded_size(encoded, num_channels).numpy().tolist() == [channel_images.HEIGHT, channel_images.WIDTH]
    window = records.decode_window(encoded, tf.constant([3, 5]), tf.constant([10, 20]), num_channels)
    np.testing.assert_array_equal(window, values[3:13, 5:25])
    assert window.shape[2] == num_channels


def test_five_channels_by_hand():
    """The planes lie below each other."""
    values = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    stacked = np.asarray(PIL.Image.open(__import__("io").BytesIO(image_channels.png(values))))
    assert stacked.shape == (10, 3) and stacked[:2].tolist() == [[0, 5, 10], [15, 20, 25]] and stacked[8].tolist() == [4, 9, 14]


def test_grey_jpegs_in_records():
    scene = odd_images.scene()[..., 0]
    data = odd_images.encode(scene, "JPEG")
    read = image_channels.read(data, "a.jpg", 1)
    assert read.plain_format == "jpeg"
    np.testing.assert_array_equal(records.decode_image(tf.constant(data), 1), read.pixels)
    window = records.decode_window(tf.constant(data), tf.constant([4, 9]), tf.constant([21, 30]), 1)
    np.testing.assert_array_equal(window, read.pixels[4:25, 9:39])


@pytest.mark.parametrize("num_channels", (1, 4))
@pytest.mark.parametrize("wanted", (1, 2, 4))
def test_a_graph_makes_no_channels_up(num_channels, wanted):
    if wanted == num_channels:
        return
    encoded = tf.constant(image_channels.png(channel_images.values(num_channels)))
    if (num_channels, wanted) == (1, 2):
        assert records.decode_image(encoded, wanted).shape[0] == channel_images.HEIGHT // 2  # Two planes, as far as a PNG tells.
        return
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        records.decode_image(encoded, wanted)


@pytest.mark.parametrize("num_channels", (1, 4, 5))
@pytest.mark.parametrize("pixel_range", [(), (0.0, 4095.0)])
def test_exports_read_files_with_the_same_values(num_channels, pixel_range):
    read = tf.function(lambda encoded: records.decode_image_in_range(encoded, pixel_range, num_channels))
    for bits in (8, 16) if num_channels != 5 else (8,):
        data, _ = channel_images.encode(channel_images.values(num_channels, bits))
        wanted = image_channels.decode(data, num_channels, pixel_range=pixel_range).pixels
        given = image_channels.png(wanted) if num_channels == 5 else data
        np.testing.assert_array_equal(read(tf.constant(given)), wanted)


def test_exports_of_one_channel_refuse_colours():
    grey = channel_images.values(1)
    data = odd_images.encode(np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(records.decode_image_in_range(tf.constant(data), (), 1), grey)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the image has colours, but this model takes images of one channel"):
        records.decode_image_in_range(tf.constant(odd_images.encode(channel_images.values(3))), (), 1)


def test_three_channels_are_read_as_ever():
    data = odd_images.encode(channel_images.values(4))
    np.testing.assert_array_equal(image_channels.decode(data, 3).pixels, image_files.read_rgb(data))
    assert json.dumps(image_channels.is_stacked(3)) == "false"


@pytest.mark.parametrize("form", ["contig", "separate"])
def test_a_deflated_strip_that_holds_more_than_its_page_promises_is_refused(form, tmp_path):
    path = tmp_path / "b.tif"
    data = channel_images.tiff(channel_images.values(5), form, compression="deflate")
    bomb = zlib.compress(bytes(50_000_000))
    path.write_bytes(data + bomb)
    assert (image_channels.decode(str(path), 5).pixels == channel_images.values(5)).all()
    with tifffile.TiffFile(str(path), mode="r+b") as file:
        for name, value in (("StripOffsets", len(data)), ("StripByteCounts", len(bomb))):
            tag = file.pages[0].tags[name]
            tag.overwrite((value, *tag.value[1:]))
    with pytest.raises(ValueError, match="b.tif cannot be read as an image: a strip or tile of it contains more than the"):
        image_channels.decode(str(path), 5)


def test_bands_count_for_the_largest_size_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 24 * 32 * 4)
    with pytest.raises(ValueError, match="it has 32x24 pixels of 5 channels, more than 3,072 values"):
        image_channels.read(channel_images.tiff(channel_images.values(5)), "b.tif", 5)
