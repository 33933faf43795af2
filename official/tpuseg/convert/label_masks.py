"""Reading and checking the masks of a data set, and converting them to class ids.

Worker processes import this module, so it does not import TensorFlow, which would take several seconds in each of them.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import PIL.Image

from tpuseg.convert import image_windows, images, mask_values, palettes
from tpuseg.convert.mask_values import LabelRules
from tpuseg.io import image_files, image_sizes, label_png
from tpuseg.ops.windows import Window

# Formats that can change the values of pixels, whatever the file name is.
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")


class Files(NamedTuple):
    """An image of a data set in VOC's layout.

    Attributes:
      name: name in the list.
      image: path of the image.
      mask: path of the mask of classes.
      objects: path of the mask of objects; empty if it is not needed.
    """

    name: str
    image: str
    mask: str
    objects: str = ""


class Mask(NamedTuple):
    """The contents of a mask file.

    Attributes:
      ids: [H, W] uint8 class ids or the ignore label.
      note: a note on how the mask was read, or empty; masks with the same note are counted together.
    """

    ids: np.ndarray
    note: str = ""


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """An image and its mask as they are stored in a record.

    Attributes:
      image: the image.
      labels: PNG of mode L, one class id per pixel.
      counts: [256] int64 number of pixels of each value.
      note: note on how the mask was read, see `Mask`.
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
      files: paths of the image and its mask.
      rules: the classes of the mask.
      exif: see `images.read_image`.
      pixel_range: see `images.read_image`.
      num_channels: see `images.read_image`.

    Raises:
      ValueError: a file is missing or damaged, the sizes differ, or the mask has invalid values; the message names the file.
    """
    mask = read_mask(files.mask, rules)
    image = images.read_image(files.image, exif, (mask.ids.shape[0], mask.ids.shape[1]), pixel_range, num_channels)
    require_size(mask.ids, image, files.mask, files.image)
    counts = np.bincount(mask.ids.ravel(), minlength=256)
    return LabelledImage(image, images.png(PIL.Image.fromarray(mask.ids)), counts, mask.note)


@dataclasses.dataclass(frozen=True)
class WindowsTask:
    """Some windows of an image with its mask, for one call of a worker.

    Attributes:
      files: the image and its mask.
      size: height and width of the mask.
      windows: the windows; empty for the whole image.
      is_first: whether it is the first task of the image.
    """

    files: Files
    size: tuple[int, int]
    windows: tuple[Window, ...] = ()
    is_first: bool = True

    @property
    def image(self) -> str:
        """Path of the image, for messages."""
        return self.files.image


def read_windows(
    task: WindowsTask, rules: LabelRules, exif: str = "apply", pixel_range: tuple[float, ...] = (), num_channels: int = 3
) -> list[LabelledImage]:
    """Reads an image and its mask, whole or some windows of both; see `read_labelled_image` for the arguments and errors.

    Notes and other facts about the files are only in the result of the first window.
    """
    files = task.files
    if not task.windows:
        return [read_labelled_image(files, rules, exif, pixel_range, num_channels)]
    mask = read_mask(files.mask, rules)
    size = (mask.ids.shape[0], mask.ids.shape[1])
    if size != task.size:
        raise ValueError(f"{files.mask} has an EXIF orientation, but masks are read as they are stored; save it without")
    image = image_windows.open_image(files.image, exif, size, pixel_range, num_channels)
    require_size(mask.ids, image.facts, files.mask, files.image)
    labelled = [_label_window(image, mask.ids, window) for window in task.windows]
    if task.is_first:
        first = labelled[0].image
        facts = dataclasses.replace(image.facts, data=first.data, format=first.format, height=first.height, width=first.width)
        labelled[0] = dataclasses.replace(
            labelled[0], image=dataclasses.replace(facts, channels=first.channels), note=mask.note
        )
    return labelled


def _label_window(image: image_windows.OpenedImage, ids: np.ndarray, window: Window) -> LabelledImage:
    part = np.ascontiguousarray(ids[window.top : window.bottom, window.left : window.right])
    counts = np.bincount(part.ravel(), minlength=256)
    return LabelledImage(image.encode(window), images.png(PIL.Image.fromarray(part)), counts)


def size_of(path: str) -> tuple[int, int]:
    """Returns the height and width of a mask without decoding it.

    Raises:
      ValueError: the file is missing or damaged; the message names it.
    """
    return image_sizes.upright_size(path)


def require_size(ids: np.ndarray, image: images.EncodedImage, mask_path: str, image_path: str) -> None:
    """Raises ValueError if a mask does not have the size of its image."""
    if ids.shape != (image.height, image.width):
        turned = f" ({image.reencoded})" if image.reencoded else ""
        raise ValueError(
            f"{mask_path} is {ids.shape[1]}x{ids.shape[0]} pixels, but the image {image_path} is"
            f" {image.width}x{image.height}{turned}"
        )


def read_mask(path: str, rules: LabelRules) -> Mask:
    """Reads the class ids of a mask.

    The values of a greyscale PNG are the ids, and so are the indices of a palette PNG unless its colours contradict them (see
    `palettes`). An RGB PNG contains the colours of the classes.

    Args:
      path: path of the file.
      rules: the classes, their colours, and the mapping of values.

    Raises:
      ValueError: the file is missing, damaged, or of a lossy format, or a value or colour is not a class.
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
    """Raises ValueError for a file of a lossy format."""
    compression = image.info.get("compression") if image.format == "TIFF" else None
    if image.format in _LOSSY or compression in ("jpeg", "webp"):
        kind = f"TIFF with {compression} compression" if compression else image.format
        raise ValueError(
            f"{path} contains {kind} data, whose lossy compression changes class ids at the borders of objects; export the mask as"
            " PNG again"
        )


def whole_numbers(values: np.ndarray, path: str) -> np.ndarray:
    """Returns the only channel of a mask, [H, W] of an integer type, without transparency."""
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 2 else values
    if values.ndim != 2:
        raise ValueError(f"{path} has {values.shape[2]} channels; a mask has one with class ids, or RGB with the classes' colours")
    if values.dtype.kind in "iu":
        return values
    # NaN is not equal to itself.
    if not (np.abs(values) < 2**31).all() or not (values == np.round(values)).all():
        raise ValueError(f"{path} has pixels that are not whole numbers; a mask has one class id per pixel, save it as 8-bit PNG")
    return values.astype(np.int64)
