"""Reading windows of an image, and encoding them for records.

This is the only place of the converters that reads large images. The pixels are those of a record of the whole image, and windows
are stored as PNG, so that nothing is compressed twice. Images up to `image_files.MAX_PIXELS` are decoded whole. Larger TIFFs are
read window by window (`large_images`).

Worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tpuseg.convert import images
from tpuseg.convert.channel_values import ChannelValues
from tpuseg.convert.images import EncodedImage
from tpuseg.io import image_channels, image_files, image_sizes, large_images
from tpuseg.ops.windows import Window


@dataclasses.dataclass(frozen=True)
class OpenedImage:
    """An image of which windows can be read.

    Attributes:
      read: returns the pixels of a window, [height, width, C] uint8.
      facts: the image without encoded data; the size is that of the whole image.
    """

    read: Callable[[Window], np.ndarray]
    facts: EncodedImage

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.facts.height, self.facts.width

    def encode(self, window: Window) -> EncodedImage:
        """Returns a window as it is stored in a record; without the facts, which are those of the whole image."""
        pixels = np.ascontiguousarray(self.read(window))
        channels = None if pixels.shape[2] == image_channels.RGB else ChannelValues.of(pixels)
        encoded = image_channels.png(pixels, image_channels.FAST_COMPRESS_LEVEL)
        return EncodedImage(encoded, "png", *window.size, "", channels=channels)


def size_of(path: str, annotated_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Returns the height and width of an image, without decoding it.

    Args:
      path: path of the file.
      annotated_size: height and width in the annotations; None if they are missing.

    Raises:
      ValueError: the file is missing or is not an image, or has another size in both orientations.
    """
    upright = image_sizes.upright_size(path)
    if annotated_size is not None and sorted(annotated_size) != sorted(upright):
        raise ValueError(f"{path} is {upright[1]}x{upright[0]} pixels, not {annotated_size[1]}x{annotated_size[0]}")
    return annotated_size or upright


def open_image(
    path: str,
    exif: str = "apply",
    annotated_size: tuple[int, int] | None = None,
    pixel_range: Sequence[float] = (),
    num_channels: int = image_channels.RGB,
) -> OpenedImage:
    """Opens an image; for the arguments and errors see `images.read_image`."""
    image_files.check_exif(exif)
    height, width = size_of(path)
    if height * width > image_files.MAX_PIXELS:
        return _open_large_image(path, pixel_range, num_channels)
    raw = images.read_bytes(path, "image")
    if num_channels == image_channels.RGB:
        with image_files.open_image(raw, path, "image") as image:
            orientation, stored_size = image_files.orientation_of(image), image_files.stored_size(image)
            stored, wide = image_files.pixels_of(image, raw, path, pixel_range)
            form = images.why_reencode(image, raw)
    else:
        found = image_channels.read(raw, path, num_channels, pixel_range)
        orientation, stored, wide = found.orientation, found.pixels, found.wide
        stored_size, form = (stored.shape[0], stored.shape[1]), "" if found.plain_format else found.form
    is_stored, is_ambiguous = images.annotated_pixels(stored_size, orientation, exif, annotated_size)
    turns = orientation != 1 and not is_stored
    pixels = image_files.upright(stored, orientation) if turns else stored
    reason = images.ROTATED if turns else form
    size = (pixels.shape[0], pixels.shape[1])
    facts = EncodedImage(b"", "", *size, reason, orientation, is_stored, is_ambiguous, wide)
    return OpenedImage(lambda window: pixels[window.top : window.bottom, window.left : window.right], facts)


def _open_large_image(path: str, pixel_range: Sequence[float], num_channels: int) -> OpenedImage:
    """Opens a TIFF that is too large to be decoded; the range of its values is not known then, so they are not reported."""
    source = large_images.open_image(path, num_channels, pixel_range)
    return OpenedImage(lambda window: source.read(*window), EncodedImage(b"", "", *source.size, "TIFF format", 1))
