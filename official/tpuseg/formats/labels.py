"""Converting the labels of one image to the contents of a record: objects, or a class for every pixel.

Worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses

import numpy as np
import PIL.Image

from tpuseg.convert import images, label_masks, objects
from tpuseg.convert.label_masks import LabelledImage
from tpuseg.convert.objects import AnnotatedImage, Converted, Finding
from tpuseg.formats.dataset import IGNORED, LabelledFile, LabelledObjects, ObjectSource, PixelSource
from tpuseg.io import image_sizes

# Label of ignored pixels in records; see `convert.voc`.
IGNORE_LABEL = 255


@dataclasses.dataclass(frozen=True)
class ConvertedPixels:
    """An image of a semantic data set after conversion.

    Attributes:
      labelled: the image and its mask, in the form that `convert.voc` writes.
      findings: irregularities in the image and its mask.
    """

    labelled: LabelledImage
    findings: list[Finding]


def read_objects(image: LabelledFile) -> LabelledObjects:
    """Returns the objects of an image of a data set of instances."""
    if isinstance(image.labels, PixelSource):
        raise TypeError(f"{image.name} has classes of pixels, not objects")
    return image.labels.read() if isinstance(image.labels, ObjectSource) else image.labels


def convert_objects(image: LabelledFile, options: objects.Options) -> Converted:
    """Reads an image and converts its labels to objects; see `objects.convert`."""
    found = read_objects(image)
    size = image.size or found.size
    annotated = AnnotatedImage(image.source_id, image.path, image.name, size, found.annotations, image.id_type)
    converted = objects.convert(annotated, options)
    return dataclasses.replace(converted, findings=[*found.findings, *converted.findings])


def convert_pixels(
    image: LabelledFile, exif: str = "apply", pixel_range: tuple[float, ...] = (), num_channels: int = 3
) -> ConvertedPixels:
    """Reads an image and the classes of its pixels.

    Args:
      image: an image of a semantic data set.
      exif: see `images.read_image`.
      pixel_range: see `images.read_image`.
      num_channels: see `images.read_image`.

    Raises:
      ValueError: the image or its mask is missing or damaged, or they differ in size; the message names the file.
    """
    if not isinstance(image.labels, PixelSource):
        raise TypeError(f"{image.name} has objects, not classes of pixels")
    read = image.labels.read(image.size or image_sizes.upright_size(image.path))
    size = (read.ids.shape[0], read.ids.shape[1])
    encoded = images.read_image(image.path, exif, size, pixel_range, num_channels, with_digest=True)
    label_masks.require_size(read.ids, encoded, f"the mask of {image.name}", image.path)
    if read.ids.max(initial=0) >= IGNORE_LABEL:
        highest = read.ids.max()
        raise ValueError(
            f"{image.name} has the class {highest}, but records can contain {IGNORE_LABEL} classes; choose some with --classes"
        )
    ids = np.where(read.ids == IGNORED, IGNORE_LABEL, read.ids).astype(np.uint8)
    labelled = LabelledImage(encoded, images.png(PIL.Image.fromarray(ids)), np.bincount(ids.ravel(), minlength=256))
    return ConvertedPixels(labelled, [*read.findings, *_exif_findings(image, encoded, exif)])


def _exif_findings(image: LabelledFile, encoded: images.EncodedImage, exif: str) -> list[Finding]:
    return [Finding(kind, f"image {image.name}: {said}") for kind, said in objects.exif_findings(encoded, exif)]


def find_classes(image: LabelledFile) -> frozenset[int]:
    """Returns the indices of the categories that occur in an image; ignored regions do not count."""
    if isinstance(image.labels, PixelSource):
        ids = image.labels.read(image.size or image_sizes.upright_size(image.path)).ids
        # Five times as fast as `unique`, which sorts.
        return frozenset(np.flatnonzero(np.bincount(ids.ravel() - IGNORED)[1:]).tolist())
    return frozenset(annotation.class_index for annotation in read_objects(image).annotations if not annotation.is_crowd)
