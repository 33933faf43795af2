"""Converting one image of a VOC folder, with its classes and objects, to an example.

Worker processes import this module, so it does not import TensorFlow, which would take several seconds in each of them.
"""

import dataclasses
import os

import numpy as np

from tpuseg.convert import images, label_masks, objects, palettes
from tpuseg.convert.mask_values import LabelRules
from tpuseg.convert.objects import AnnotatedImage, Annotation, Converted, Finding
from tpuseg.data.examples import Category
from tpuseg.io import image_files, label_png
from tpuseg.ops import masks

# In SegmentationObject, 0 is background and 255 the border around objects.
_OBJECT_RULES = LabelRules(num_classes=255, ignore_label=255, palette="index")
# The border in a file with more than 254 objects.
_WIDE_BORDER = 65535
KINDS = {palettes.BY_COLOR: "mask_by_color", palettes.BY_NUMBER: "mask_by_number"}


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules for reading images and masks.

    Attributes:
      class_names: class names in the order of the ids; the first is the background.
      labels: rules for the masks of classes.
      exif: see `images.read_image`.
      pixel_range: see `images.read_image`.
      num_channels: see `images.read_image`.
    """

    class_names: tuple[str, ...]
    labels: LabelRules
    exif: str = "apply"
    pixel_range: tuple[float, ...] = ()
    num_channels: int = 3

    def categories(self) -> list[Category]:
        """Returns the categories: all classes except the background, with their ids."""
        return [Category(number, name) for number, name in enumerate(self.class_names) if number]


@dataclasses.dataclass(frozen=True)
class VocReader:
    """Reads images with their objects; see `tiling.Reader`.

    Attributes:
      rules: rules for reading images and masks.
    """

    rules: Rules

    @property
    def options(self) -> objects.Options:
        """How images are read."""
        return objects.Options(self.rules.exif, self.rules.pixel_range, self.rules.num_channels)

    @property
    def refuses_unreadable(self) -> bool:
        """A list of VOC names the images that are needed."""
        return True

    def size_of(self, item: label_masks.Files) -> tuple[int, int]:
        """Returns the height and width of the mask of classes."""
        return label_masks.size_of(item.mask)

    def annotations_of(self, item: label_masks.Files) -> tuple[AnnotatedImage, list[Finding]]:
        """Reads the objects of an image."""
        annotations, findings, size = read_annotations(item, self.rules)
        return AnnotatedImage(item.name, item.image, os.path.basename(item.image), size, annotations), findings

    def convert(self, item: label_masks.Files) -> Converted:
        """Converts a whole image; see `convert`."""
        return convert(item, self.rules)


def convert(files: label_masks.Files, rules: Rules) -> Converted:
    """Converts an image and its objects.

    Args:
      files: paths of the image, its classes and its objects.
      rules: rules for reading them.

    Raises:
      ValueError: a file is missing or damaged, the sizes differ, or a mask has invalid values; the message names the file.
    """
    annotations, findings, size = read_annotations(files, rules)
    image = images.read_image(files.image, rules.exif, size, rules.pixel_range, rules.num_channels)
    label_masks.require_size(np.empty(size), image, files.mask, files.image)
    findings += [Finding(kind, f"{files.image}: {said}") for kind, said in objects.exif_findings(image, rules.exif)]
    made = [objects.instance(annotation, size, []) for annotation in annotations]
    example = objects.example(image, files.name, os.path.basename(files.image), [one for one in made if one])
    return Converted(example, findings, image.reencoded, wide=image.wide, channels=image.channels)


def read_annotations(files: label_masks.Files, rules: Rules) -> tuple[list[Annotation], list[Finding], tuple[int, int]]:
    """Reads the objects of an image.

    Args:
      files: paths of the masks of classes and objects.
      rules: rules for reading them.

    Returns:
      The objects, the findings, and the height and width of the masks.

    Raises:
      ValueError: a mask is missing or damaged, the sizes differ, or a mask has invalid values; the message names the file.
    """
    mask, numbers = label_masks.read_mask(files.mask, rules.labels), _read_numbers(files.objects)
    classes = mask.ids
    size = (classes.shape[0], classes.shape[1])
    if numbers.shape != size:
        raise ValueError(
            f"{files.objects} is {numbers.shape[1]}x{numbers.shape[0]} pixels, but {files.mask} is {size[1]}x{size[0]}; export both"
            " again"
        )
    findings = [Finding(KINDS[mask.note], files.mask)] if mask.note else []
    annotations: list[Annotation] = []
    for number in np.unique(numbers[numbers > 0]).tolist():
        votes = np.bincount(classes[numbers == number], minlength=256)
        votes[0] = votes[rules.labels.ignore_label] = 0
        if not votes.any():
            findings.append(Finding("object_without_class", f"{files.objects}: object {number}"))
            continue
        annotations.append(_annotation(numbers == number, int(votes.argmax()), rules, f"object {number}"))
    return annotations, findings, size


def _read_numbers(path: str) -> np.ndarray:
    """Returns the number of the object at each pixel, [H, W]; 0 where there is none.

    In a file with 8 bits, 255 is the border around objects. A file with larger numbers has 16 bits; there 255 is an object like
    others, and 65535 the border.

    Raises:
      ValueError: the file is missing, damaged, or of a lossy format, or has values that number no object; names it.
    """
    raw = images.read_bytes(path, "mask")
    with image_files.open_image(raw, path, "mask") as image:
        label_masks.refuse_lossy(image, path)
        is_colored = image.mode in ("RGB", "RGBA")
        wide = None
        if image.mode == "I" or image.mode.startswith("I;16"):
            wide = label_masks.whole_numbers(label_png.values(image, raw), path)
    if wide is not None and wide.max() > _OBJECT_RULES.ignore_label:
        if wide.max() > _WIDE_BORDER or wide.min() < 0:
            found = f"{wide.min()} to {wide.max()}"
            raise ValueError(f"{path} has the values {found}; objects are numbered from 1 to {_WIDE_BORDER - 1}")
        return np.where(wide == _WIDE_BORDER, 0, wide)
    try:
        ids = label_masks.read_mask(path, _OBJECT_RULES).ids
    except ValueError as error:
        if not is_colored:
            raise
        raise ValueError(
            f"{str(error).partition(';')[0]}; RGB files of objects use VOC's colours of the numbers 1 to 254: save the numbers"
            " themselves as a grey PNG, with 16 bits for more than 254 objects"
        ) from error
    return np.where(ids == _OBJECT_RULES.ignore_label, 0, ids)


def _annotation(mask: np.ndarray, class_id: int, rules: Rules, name: str) -> Annotation:
    runs = masks.encode(mask)
    y0, x0, y1, x1 = masks.bounding_box(runs).tolist()
    return Annotation(
        name=name,
        category=Category(class_id, rules.class_names[class_id]),
        class_index=class_id - 1,
        is_crowd=False,
        box=(x0, y0, x1 - x0, y1 - y0),
        area=float(masks.area(runs)),
        segmentation=runs,
    )
