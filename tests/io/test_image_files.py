"""The reader of image files: equal to the decoder of records, and every odd file an error that names it."""

import io
import os

import cv2
import numpy as np
import odd_images
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf
import tifffile

from tpuseg.convert import images
from tpuseg.data import records
from tpuseg.io import image_files

RGB = odd_images.scene()
GREY = RGB[..., 0]
WIDE = GREY.astype(np.uint16) * np.uint16(257) - (GREY > 100).astype(np.uint16)
IMAGES = {
    "jpeg": odd_images.encode(RGB, "JPEG", quality=90),
    "jpeg_444": odd_images.encode(RGB, "JPEG", subsampling=0),
    "jpeg_422": odd_images.encode(RGB, "JPEG", subsampling=1),
    "jpeg_grey": odd_images.encode(GREY, "JPEG"),
    "jpeg_progressive": odd_images.encode(RGB, "JPEG", progressive=True, quality=40),
    "jpeg_one_pixel": odd_images.encode(RGB[:1, :1], "JPEG"),
    "png": odd_images.encode(RGB),
    "png_1": odd_images.encode(PIL.Image.fromarray(GREY).convert("1")),
    "png_grey": odd_images.encode(GREY),
    "png_grey_alpha": odd_images.encode(np.stack([GREY, GREY[::-1]], -1)),
    "png_palette": odd_images.encode(PIL.Image.fromarray(RGB).quantize(16)),
    "png_palette_transparent": odd_images.encode(PIL.Image.fromarray(RGB).quantize(16), transparency=3),
    "png_alpha": odd_images.encode(np.concatenate([RGB, GREY[..., None]], -1)),
    "png_16": odd_images.encode(WIDE),
    "png_16_colours": odd_images.png_of_16_bits(np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], -1)),
    "png_16_alpha": odd_images.png_of_16_bits(np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1], WIDE], -1)),
    "bmp": odd_images.encode(RGB, "BMP"),
    "gif": odd_images.encode(PIL.Image.fromarray(RGB), "GIF"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_records_are_decoded_to_the_same_pixels(name):
    read = image_files.read_rgb(IMAGES[name])
    assert read.dtype == np.uint8 and read.shape == records.decode_image(tf.constant(IMAGES[name])).shape
    np.testing.assert_array_equal(read, records.decode_image(tf.constant(IMAGES[name])))


def test_a_window_of_a_record_is_a_part_of_the_image():
    offset, extent = tf.constant([4, 9]), tf.constant([21, 30])
    for name in ("jpeg_444", "png"):
        window = records.decode_window(tf.constant(IMAGES[name]), offset, extent).numpy()
        np.testing.assert_array_equal(window, image_files.read_rgb(IMAGES[name])[4:25, 9:39])


def test_eight_bits_by_hand():
    values = np.array([0, 1, 15, 16, 4080, 4095, 5000], np.uint16)
    np.testing.assert_array_equal(image_files.to_eight_bits(values, 0, 4095), [0, 0, 0, 1, 255, 255, 255])
    # The upper byte, as TensorFlow and libpng have it.
    every = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal(image_files.to_eight_bits(every, 0, 65535), every >> 8)
    np.testing.assert_array_equal(image_files.to_eight_bits(every.astype(np.int32), 0, 65535), every >> 8)
    floats = np.array([-1.0, 0.0, 0.5, 1.0, 2.0], np.float32)
    np.testing.assert_array_equal(image_files.to_eight_bits(floats, 0, 1), [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(image_files.to_eight_bits(np.array([900, 1155]), 900, 1155), [0, 255])


def tiff(values, tmp_path, **tags):
    path = str(tmp_path / "a.tif")
    PIL.Image.fromarray(values).save(path, **tags)
    return path


@pytest.mark.parametrize(
    ("values", "pixel_range"),
    [
        (WIDE, (0, 65535)),
        ((WIDE >> 4), (0, 4095)),
        (WIDE.astype(np.int32) * 3, (0, 3 * 65535)),
        (WIDE.astype(np.float32) / 65535, (0, 1)),
        (WIDE.astype(np.float32) - 500, (-500, 65035)),
    ],
)
def test_wide_tiffs_with_a_range(values, pixel_range, tmp_path):
    read = image_files.decode(tiff(values, tmp_path), pixel_range=pixel_range)
    assert np.abs(read.pixels.astype(int) - (WIDE >> 8)[..., None]).max() <= 1
    assert (read.wide.smallest, read.wide.largest, read.wide.clipped) == (values.min(), values.max(), 0)


def test_wide_colours_with_a_range(tmp_path):
    values = np.stack([WIDE >> 4, WIDE[::-1] >> 4, WIDE[:, ::-1] >> 4], -1)
    cv2.imwrite(str(tmp_path / "a.tif"), values[..., ::-1])
    with_alpha = np.concatenate([values, values[..., :1]], -1)
    for data in (odd_images.png_of_16_bits(values), odd_images.png_of_16_bits(with_alpha), str(tmp_path / "a.tif")):
        read = image_files.decode(data, pixel_range=(0, 4095))
        np.testing.assert_array_equal(read.pixels, values >> 4)
        assert (read.wide.smallest, read.wide.largest, read.wide.bits) == (values.min(), values.max(), 16)
        # Without a range only the upper bytes are read.
        assert image_files.decode(data).wide.largest == values.max() | 255


def test_what_lies_outside_of_the_range_is_counted(tmp_path):
    path = tiff(np.array([[0, 50], [100, 200]], np.uint16), tmp_path)
    read = image_files.decode(path, pixel_range=(10, 100))
    assert read.wide.clipped == 0.5
    np.testing.assert_array_equal(read.pixels[..., 0], [[0, 113], [255, 255]])


def test_not_a_number_is_black(tmp_path):
    path = tiff(np.array([[np.nan, 1], [np.inf, 0]], np.float32), tmp_path)
    np.testing.assert_array_equal(image_files.read_rgb(path, pixel_range=(0, 1))[..., 0], [[0, 255], [255, 0]])


@pytest.mark.parametrize("values", [WIDE.astype(np.int32), WIDE.astype(np.float32)])
def test_values_without_a_defined_white_are_refused(values, tmp_path):
    with pytest.raises(ValueError, match=r"a.tif has (float|32-bit integer) values from \d.* to \d.*--pixel_range=LOW,HIGH"):
        image_files.read_rgb(tiff(values, tmp_path))


def test_unsigned_integers_of_32_bits(tmp_path):
    values = np.array([[0, 2**31], [2**32 - 1, 2**30]], np.uint32)
    encoded = odd_images.encode(values.view(np.int32), "TIFF")
    signed = bytes.fromhex("530103000100000002")  # The entry of the tag, a short, one of them: 2.
    assert signed in encoded
    unsigned = encoded.replace(signed, signed[:-1] + b"\x01")
    np.testing.assert_array_equal(image_files.read_rgb(unsigned, pixel_range=(0, 2**32 - 1))[..., 0], [[0, 128], [255, 64]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_makes_of_it(kind, orientation):
    data = odd_images.turned(RGB, orientation, kind)
    with PIL.Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(image_files.read_rgb(data), wanted)
    stored = image_files.read_rgb(data, exif="ignore")
    assert stored.shape == RGB.shape and image_files.decode(data).orientation == orientation
    np.testing.assert_array_equal(image_files.upright(stored, orientation), wanted)


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_undefined_orientation_is_none(value):
    data = odd_images.turned(RGB, value)
    assert image_files.read_rgb(data).shape == RGB.shape


def test_broken_exif_data_does_not_matter():
    data = odd_images.encode(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(90)))
    np.testing.assert_array_equal(image_files.read_rgb(data), records.decode_image(tf.constant(data)))


@pytest.mark.parametrize("size", [(60000, 60000), (1, 2**31 - 1), (13378, 13378)])
def test_a_bomb_is_refused(size, tmp_path):
    (tmp_path / "bomb.png").write_bytes(odd_images.bomb(*size))
    with pytest.raises(ValueError, match=r"bomb.png cannot be read as an image: .*pixels.*cut it into tiles"):
        image_files.read_rgb(str(tmp_path / "bomb.png"))


def test_what_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(IMAGES["png"][:700])
    os.mkfifo(tmp_path / "c.png")
    (tmp_path / "d.png").mkdir()
    for name, error in {"a": ValueError, "b": ValueError, "c": OSError, "d": OSError, "e": OSError}.items():
        with pytest.raises(error, match=f"{name}.png"):
            image_files.read_rgb(str(tmp_path / f"{name}.png"))
    with pytest.raises(ValueError, match="exif is `maybe`"):
        image_files.read_rgb(IMAGES["png"], exif="maybe")


@pytest.mark.parametrize(
    ("text", "wanted"), [([], ()), (["0", "4095"], (0, 4095)), (["-1.5", " 2e3"], (-1.5, 2000))]
)
def test_a_range_is_read(text, wanted):
    assert image_files.parse_range(text, "--pixel_range") == wanted


@pytest.mark.parametrize("text", [["1"], ["a", "b"], ["2", "1"], ["0", "inf"], ["nan", "1"], ["0", "1", "2"]])
def test_no_range_is_refused(text):
    with pytest.raises(ValueError, match=r"--pixel_range=.* is not LOW,HIGH"):
        image_files.parse_range(text, "--pixel_range")


def test_a_png_with_damaged_pixels_is_an_error(tmp_path):
    # Pillow decodes a PNG to find its EXIF data, drops the error, and gave black pixels the second time.
    data = bytearray(odd_images.encode(odd_images.scene()))
    data[len(data) // 2] ^= 1
    path = tmp_path / "damaged.png"
    path.write_bytes(data)
    for read in (image_files.decode, images.read_image):
        with pytest.raises(ValueError, match="damaged.png cannot be read as"):
            read(str(path))


def test_a_format_that_starts_another_program_is_not_opened():
    with pytest.raises(ValueError, match="it is none of JPEG, PNG"):
        image_files.decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


@pytest.mark.parametrize("pixel_range", [(), (0, 4095)])
def test_16_bit_colours_in_separate_planes_are_one_line(tmp_path, pixel_range):
    path = str(tmp_path / "a.tif")
    planes = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match=rf"^{path} cannot be read as an image: its 16-bit colours are stored in separate planes"):
        image_files.decode(path, pixel_range=pixel_range)
    tifffile.imwrite(path, planes.astype(np.uint8), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(image_files.decode(path).pixels, np.moveaxis(planes, 0, -1))
