"""Masks of a data set: read, checked, and made into class ids.

Worker processes import this module, so it leaves TensorFlow alone: its import would cost each of them several seconds.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import PIL.Image

from tpuseg.convert import images, mask_values, palettes
from tpuseg.convert.mask_values import LabelRules
from tpuseg.io import image_files, label_png

# Formats that change the values of pixels, or may; what a file is called does not matter.
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")


class Files(NamedTuple):
    """An image of a data set in VOC's layout.

    Attributes:
      name: as its list has it.
      image: path of the image.
      mask: path of the mask with its classes.
      objects: path of the mask with its objects; empty where it is not needed.
    """

    name: str
    image: str
    mask: str
    objects: str = ""


class Mask(NamedTuple):
    """What a mask's file holds.

    Attributes:
      ids: [H, W] uint8.
      note: how it was read, if that needs to be said; several masks with the same note are counted together.
    """

    ids: np.ndarray
    note: str = ""


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """An image and its mask as records hold them.

    Attributes:
      image: the image.
      labels: PNG of mode L, one class id a pixel.
      counts: how often each value occurs, [256] int64.
      note: how the mask was read, see `Mask`.
    """

    image: images.EncodedImage
    labels: bytes
    counts: np.ndarray
    note: str = ""


def read_labelled_image(
    files: Files, rules: LabelRules, exif: str = "apply", pixel_range: tuple[float, ...] = (), num_channels: int = 3
) -> LabelledImage:
    """Reads an image and its mask.

    Args:
      files: where they are.
      rules: what the mask's values may be.
      exif: see `images.read_image`.
      pixel_range: see `images.read_image`.
      num_channels: see `images.read_image`.

    Raises:
      ValueError: one of them is missing or broken, they differ in size, or the mask has other values; names the file.
    """
    mask = read_mask(files.mask, rules)
    image = images.read_image(files.image, exif, (mask.ids.shape[0], mask.ids.shape[1]), pixel_range, num_channels)
    require_size(mask.ids, image, files.mask, files.image)
    counts = np.bincount(mask.ids.ravel(), minlength=256)
    return LabelledImage(image, images.png(PIL.Image.fromarray(mask.ids)), counts, mask.note)


def require_size(ids: np.ndarray, image: images.EncodedImage, mask_path: str, image_path: str) -> None:
    """Raises ValueError if a mask is not as large as its image."""
    if ids.shape != (image.height, image.width):
        turned = f" ({image.reencoded})" if image.reencoded else ""
        raise ValueError(
            f"{mask_path} is {ids.shape[1]}x{ids.shape[0]} pixels, but the image {image_path} is"
            f" {image.width}x{image.height}{turned}"
        )


def read_mask(path: str, rules: LabelRules) -> Mask:
    """Reads a mask as class ids, whichever way it stores them.

    A grey PNG holds the ids themselves, and so does a palette PNG unless its colours say otherwise (see `palettes`); an RGB PNG
    holds the colours of the rules.

    Args:
      path: of the file.
      rules: what the values may be.

    Raises:
      ValueError: the file is missing, broken or of a format that changes values, or has a value or colour that is no class.
    """
    raw = images.read_bytes(path, "mask")
    with image_files.open_image(raw, path, "mask") as image:
        refuse_lossy(image, path)
        if image.mode in ("RGB", "RGBA"):
            return Mask(mask_values.ids_of_colors(np.asarray(image.convert("RGB")), rules, path))
        values, note = whole_numbers(label_png.values(image, raw), path), ""
        if image.mode == "P":
            values, note = palettes.to_values(values, bytes(image.getpalette("RGB") or ()), rules, path)
    return Mask(mask_values.to_ids(values, rules, path), note)


def refuse_lossy(image: PIL.Image.Image, path: str) -> None:
    """Raises ValueError for a file of a format that changes values."""
    compression = image.info.get("compression") if image.format == "TIFF" else None
    if image.format in _LOSSY or compression in ("jpeg", "webp"):
        kind = f"TIFF with {compression} compression" if compression else image.format
        raise ValueError(
            f"{path} is a {kind} inside, whatever it is called: that changes class ids at the borders of objects; export the mask"
            " as PNG again, as the values are lost in this file"
        )


def whole_numbers(values: np.ndarray, path: str) -> np.ndarray:
    """Returns the one channel of a mask, [H, W] of an integer type; its transparency goes."""
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 2 else values
    if values.ndim != 2:
        raise ValueError(f"{path} has {values.shape[2]} channels; a mask has one with class ids, or RGB with the classes' colours")
    if values.dtype.kind in "iu":
        return values
    # NaN is not equal to itself.
    if not (np.abs(values) < 2**31).all() or not (values == np.round(values)).all():
        raise ValueError(f"{path} has pixels that are not whole numbers; a mask has one class id a pixel, save it as 8-bit PNG")
    return values.astype(np.int64)
