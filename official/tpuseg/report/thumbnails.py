"""The images of a page: smaller copies of the evaluated images, and class maps that are drawn over them.

A file is named by a hash of what it is made of. It is therefore written once, however often the report is written, and another
image with the same name gets another file.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import PIL.Image

from tpuseg.io import files, image_files
from tpuseg.utils import parallel
from tpuseg.visualization import drawing

FOLDER = "images"
# Pixels of the longer side, enough for a screen; smaller images keep their size.
MAX_SIDE = 1024
_JPEG_QUALITY = 85
_LAYER_ALPHA = 150
_ERROR_COLOR = (255, 45, 85)


def write_thumbnail(content: bytes | np.ndarray, folder: str, name: str, max_side: int = MAX_SIDE) -> str:
    """Writes the image for the page, unless it exists.

    Args:
      content: the encoded image, or [H, W, C] uint8 pixels, of which the first three or the first channel are drawn.
      folder: folder of the page.
      name: name of the image, for messages.
      max_side: pixels of the longer side at most.

    Returns:
      The URL relative to the page.

    Raises:
      ValueError: the image cannot be decoded; the message names it.
      OSError: the file cannot be written.
    """
    return _write_once(folder, "jpg", [_hash(content), f"{max_side}"], lambda: _encode_thumbnail(content, name, max_side))


def write_thumbnails(
    images: Iterable[tuple[str, bytes | np.ndarray]], folder: str, num_workers: int, max_side: int = MAX_SIDE
) -> Iterator[str]:
    """Writes the images of a page in threads; yields their URLs in order.

    Args:
      images: names and contents, see `write_thumbnail`. Few of them are in memory at a time.
      folder: folder of the page.
      num_workers: number of threads.
      max_side: pixels of the longer side at most.

    Raises:
      ValueError: an image cannot be decoded; the message names it.
      OSError: a file cannot be written.
    """
    return parallel.map_in_threads(lambda image: write_thumbnail(image[1], folder, image[0], max_side), images, num_workers)


def write_class_map(labels: np.ndarray, folder: str, transparent: tuple[int, ...] = (0, 255), max_side: int = MAX_SIDE) -> str:
    """Writes a class map in the colours of the classes as a PNG that is drawn over the image, unless it exists.

    Args:
      labels: [H, W] uint8 class numbers.
      folder: folder of the page.
      transparent: numbers that are not drawn; like in `drawing.overlay`, class 0 and ignored pixels.
      max_side: pixels of the longer side at most.

    Returns:
      The URL relative to the page.
    """
    return _write_layer(labels, folder, drawing.color_map(), transparent, max_side)


def write_error_map(is_wrong: np.ndarray, folder: str, max_side: int = MAX_SIDE) -> str:
    """Writes wrong pixels in one colour as a PNG that is drawn over the image, unless it exists.

    Args:
      is_wrong: [H, W] bool; pixels without ground truth are False.
      folder: folder of the page.
      max_side: pixels of the longer side at most.

    Returns:
      The URL relative to the page.
    """
    colors = np.tile(np.array(_ERROR_COLOR, np.uint8), (256, 1))
    return _write_layer(is_wrong.astype(np.uint8), folder, colors, (0,), max_side)


def _write_layer(labels: np.ndarray, folder: str, colors: np.ndarray, transparent: tuple[int, ...], max_side: int) -> str:
    parts = [_hash(labels), colors.tobytes().hex(), f"{transparent} {max_side}"]
    return _write_once(folder, "png", parts, lambda: _encode_layer(labels, colors, transparent, max_side))


def _write_once(folder: str, ending: str, parts: list[str], encode: Callable[[], bytes]) -> str:
    name = f"{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:20]}.{ending}"
    path = os.path.join(folder, FOLDER, name)
    if not files.exists(path):
        files.write_bytes(path, encode())
    return f"{FOLDER}/{name}"


def _hash(content: bytes | np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(content, np.ndarray):
        digest.update(f"{content.shape} {content.dtype}".encode())
        content = np.ascontiguousarray(content).tobytes()
    digest.update(content)
    return digest.hexdigest()


def _encode_thumbnail(content: bytes | np.ndarray, name: str, max_side: int) -> bytes:
    if isinstance(content, np.ndarray):
        image = PIL.Image.fromarray(drawing.to_rgb(content))
    else:
        with image_files.open_image(content, name) as opened:
            # Without the orientation in the EXIF data: records and their boxes do not have it either.
            image = PIL.Image.fromarray(image_files.pixels_of(opened, content, name)[0])
    image.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _encode_layer(labels: np.ndarray, colors: np.ndarray, transparent: tuple[int, ...], max_side: int) -> bytes:
    """Returns a PNG with a palette, which is smaller than one with four channels."""
    image = PIL.Image.fromarray(np.ascontiguousarray(drawing.reduce(labels, max_side)))
    image.putpalette(colors.tobytes())
    alpha = bytearray([_LAYER_ALPHA] * 256)
    for label in transparent:
        alpha[label] = 0
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(alpha))
    return buffer.getvalue()
