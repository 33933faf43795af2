"""What the tests of all formats share: small images, and what a data set holds after reading as plain values."""

import io
import pathlib

import numpy as np
import PIL.Image

from tpuseg.convert import objects
from tpuseg.formats import labels
from tpuseg.ops import masks


def write_image(path: pathlib.Path, width: int = 12, height: int = 8, orientation: int = 1):
    """Writes an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = PIL.Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    PIL.Image.new("RGB", (width, height), (90, 120, 150)).save(path, exif=exif)


def write_mask(path: pathlib.Path, ids, palette=None):
    """Writes a PNG of one channel, or three."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(np.asarray(ids))
    if palette is not None:
        image.putpalette(bytes(palette))
    image.save(path)


def rectangle(rows, columns, size=(8, 12)):
    """Returns a mask with ones in ranges of rows and columns."""
    mask = np.zeros(size, np.uint8)
    mask[slice(*rows), slice(*columns)] = 1
    return mask


def converted(dataset):
    """Returns what the converters make of every image, by its name."""
    return {image.name: labels.convert_objects(image, objects.Options()) for image in dataset.images}


def shapes(dataset):
    """Returns the objects of every image: pairs of a class and a mask, and `ignored ` before the class of a crowd."""
    result = {}
    for name, one in converted(dataset).items():
        assert one.example is not None, one.findings
        result[name] = [
            ("ignored " * instance.is_crowd + instance.category.name, masks.decode(instance.runs))
            for instance in one.example.instances
        ]
    return result


def same_shapes(found, expected):
    """Compares what `shapes` returns for one image, with a message that shows the first difference."""
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, mask), (_, wanted) in zip(found, expected, strict=True):
        assert np.array_equal(mask, wanted), f"{name}\n{mask}\n{np.asarray(wanted)}"
    return True


def pixels(dataset):
    """Returns the class ids of every image as records hold them, [H, W] uint8, by its name."""
    result = {}
    for image in dataset.images:
        encoded = labels.convert_pixels(image).labelled.labels
        result[image.name] = np.asarray(PIL.Image.open(io.BytesIO(encoded)))
    return result


def kinds(findings):
    """Returns the number of findings of each kind."""
    counted = {}
    for finding in findings:
        assert finding.kind in objects.REPAIRS, f"{finding.kind} has no description"
        counted[finding.kind] = counted.get(finding.kind, 0) + 1
    return counted
