"""Fuzz tests of image files: damaged, of odd modes, and with headers that promise more than they hold.

Conversion, prediction and training read the same file: all of them get the same pixels, or the file is one error that names it.
"""

import struct
import zlib

import numpy as np
import odd_images
import PIL.Image
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st
from limited_process import LimitedProcess
from outcomes import result_or_error

from tpuseg.convert import images
from tpuseg.data import records
from tpuseg.io import image_files

MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "BMP": ["1", "L", "P", "RGB"],
    "GIF": ["L", "P", "RGB"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"],
    "WEBP": ["RGB", "RGBA"],
    "PPM": ["1", "L", "RGB", "I;16"],
    "JPEG2000": ["L", "RGB", "RGBA", "I;16"],
    "TGA": ["L", "P", "RGB", "RGBA"],
}
KINDS = [(kind, mode) for kind, modes in MODES.items() for mode in modes]
SCENE = odd_images.scene()
NAME = "odd.img"


def scene(mode):
    if mode in ("I;16", "I", "F"):
        grey = SCENE[..., 0].astype(np.uint16) * 257
        return PIL.Image.fromarray(grey if mode == "I;16" else grey.astype({"I": np.int32, "F": np.float32}[mode]))
    return PIL.Image.fromarray(SCENE).convert(mode)


def encoded(kind, mode, orientation):
    """Returns an image's bytes; kinds without EXIF data have no orientation."""
    if orientation and kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        return odd_images.turned(scene(mode), orientation, kind)
    return odd_images.encode(scene(mode), kind)


@st.composite
def damage(draw):
    """Draws what becomes of a file's bytes: bits flipped, the end lost, a piece lost, or a piece twice."""
    kinds = st.sampled_from(["flip", "cut", "lose", "repeat", "number"])
    return draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.integers(0, 2**32 - 1)), max_size=3))


def damaged(data, changes):
    data = bytearray(data)
    for kind, where, value in changes:
        place = int(where * max(len(data) - 1, 0))
        if kind == "flip" and data:
            data[place] ^= 1 << value % 8
        elif kind == "cut":
            del data[place:]
        elif kind == "lose":
            del data[place : place + 1 + value % 40]
        elif kind == "repeat":
            data[place:place] = data[place : place + 1 + value % 40]
        elif kind == "number":
            data[place : place + 4] = struct.pack("<I" if value % 2 else ">I", value)
    return bytes(data)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("images") / NAME


def in_training(data):
    """Returns the pixels of a record's image, or None if a graph cannot decode it."""
    try:
        return records.decode_image(tf.constant(data)).numpy()
    except tf.errors.OpError:
        return None


@given(kind=st.sampled_from(KINDS), orientation=st.integers(0, 8), changes=damage(), exif=st.sampled_from(image_files.EXIF_CHOICES))
def test_conversion_and_prediction_read_the_same_pixels_or_name_the_file(path, kind, orientation, changes, exif):
    path.write_bytes(damaged(encoded(*kind, orientation), changes))
    wide = kind[1] in ("I", "F")
    pixel_range = (0, 65535) if wide else ()
    seen, _ = result_or_error(lambda: image_files.decode(str(path), exif, pixel_range), NAME)
    made, fault = result_or_error(lambda: images.read_image(str(path), exif, None, pixel_range), NAME)
    assert (seen is None) == (made is None), fault
    if not changes:
        assert seen is not None, fault
    assume(made is not None)
    assert seen.pixels.dtype == np.uint8 and seen.pixels.shape == (made.height, made.width, 3)
    again = image_files.decode(made.data).pixels
    np.testing.assert_array_equal(again, seen.pixels)
    trained = in_training(made.data)
    if trained is None:
        assert changes and records.decode_with_pillow(made.data, "image", []) is not None
    else:
        np.testing.assert_array_equal(trained, seen.pixels)


@given(data=st.binary(max_size=80) | st.sampled_from([b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"\0\0\1\0", b"SIMPLE  ="]))
def test_other_content(path, data):
    path.write_bytes(data)
    decoded, fault = result_or_error(lambda: image_files.decode(str(path)), NAME)
    assert decoded is not None or "cannot be read as an image" in fault


# Headers of small files that promise many pixels: of each kind, its file of a given width and height.
def _bmp(width, height):
    header = struct.pack("<IIIHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + header + bytes(64)


def _gif(width, height):
    screen = struct.pack("<HHBBB", width & 0xFFFF, height & 0xFFFF, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width & 0xFFFF, height & 0xFFFF, 0) + b"\2\2\x4c\1\0;"


def _tiff(width, height):
    rows = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    rows += [(277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 64)]
    entries = b"".join(struct.pack("<HHII", *row) for row in rows)
    return b"II*\0" + struct.pack("<I", 8 + 64) + bytes(64) + struct.pack("<H", len(rows)) + entries + bytes(4)


def _jpeg(width, height):
    whole = odd_images.encode(SCENE, "JPEG")
    place = whole.index(b"\xff\xc0") + 5
    return whole[:place] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + whole[place + 4 :]


def _deflated_tiff(width, height):
    plain, deflated = (struct.pack("<HHII", 259, 3, 1, kind) for kind in (1, 8))
    return _tiff(width, height).replace(plain, deflated).replace(bytes(64), zlib.compress(bytes(60000)).ljust(64, b"\0")[:64])


def _ppm(width, height):
    return b"P6 %d %d 255\n" % (width, height) + bytes(64)


def _tga(width, height):
    sides = (width & 0xFFFF, height & 0xFFFF)
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, *sides, 24, 0) + bytes(64)


HEADERS = {"bmp": _bmp, "deflated tiff": _deflated_tiff, "gif": _gif, "jpeg": _jpeg, "png": odd_images.bomb, "ppm": _ppm}
HEADERS |= {"tga": _tga, "tiff": _tiff}
SIDES = st.sampled_from([0, 1, 7, 255, 4096, 13000, 30000, 60000, 65535, 2**20, 2**31 - 1, 2**32 - 1])

# Reads lines of file names; answers each with `read` or `error`.
WORKER = """
import sys
from tpuseg.io import image_files
from tpuseg.convert import images
print("ready", flush=True)
for line in sys.stdin:
    path = line.strip()
    for read in (image_files.decode, images.read_image):
        try:
            read(path)
            answer = "read"
        except (ValueError, OSError) as error:
            answer = "error" if path in str(error) and len(str(error)) < 1000 else f"an error without the file: {error}"
    print(answer, flush=True)
"""


@pytest.fixture(scope="module")
def reader():
    process = LimitedProcess(WORKER, 3, 60)
    yield process
    process.close()


@given(kind=st.sampled_from(sorted(HEADERS)), width=SIDES, height=SIDES)
def test_headers_that_promise_many_pixels(reader, path, kind, width, height):
    path.write_bytes(HEADERS[kind](width, height))
    answer = reader.ask(path)
    assert answer in ("error", "read"), f"{kind} of {width}x{height}: {answer or 'the process died'}"
