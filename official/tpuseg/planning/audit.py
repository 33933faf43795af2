"""What people should look at before they train: duplicate images and objects, rare classes, images without labels."""

import dataclasses
from collections.abc import Sequence

from tpuseg.formats.dataset import INSTANCES, TRAIN
from tpuseg.planning.conversion import ImageContents
from tpuseg.planning.fingerprint import Fingerprint
from tpuseg.utils.messages import format_count

# Classes with fewer objects, or in fewer images, can hardly be learned.
FEW = 10
_IGNORED = 255


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that people should look at.

    Attributes:
      what: one sentence.
      images: names of all images that it is about, or a sentence for each.
    """

    what: str
    images: tuple[str, ...]


def find_problems(fingerprint: Fingerprint) -> list[Problem]:
    """Returns the problems of a data set, the worst first."""
    problems = [*_same_pixels(fingerprint.images), *rare_classes(fingerprint)]
    twins = tuple(
        f"{image.name}: objects {twin.earlier + 1} and {twin.number + 1}, {fingerprint.class_names[twin.category]}"
        for image in fingerprint.images
        for twin in image.twins
    )
    if twins:
        problems.append(Problem(f"{format_count(len(twins), 'object')} with the mask and class of another one", twins))
    return [*problems, *_without_labels(fingerprint)]


def _same_pixels(images: Sequence[ImageContents]) -> list[Problem]:
    """Returns groups of images with the same pixels: those in several splits, and those within one."""
    groups: dict[bytes, list[tuple[str, str]]] = {}
    for image in images:
        if image.digest:
            groups.setdefault(image.digest, []).append((image.split, image.name))
    repeated = [group for group in groups.values() if len(group) > 1]
    across = [group for group in repeated if len({split for split, _ in group}) > 1]
    within = [group for group in repeated if group not in across]
    reasons = (
        (across, "and are in several splits, so that evaluation uses images of the training"),
        (within, "within a split"),
    )
    return [
        Problem(
            f"{sum(map(len, found))} files contain only {format_count(len(found), 'different image')} {reason}",
            tuple(" = ".join(f"{name} ({split})" for split, name in group) for group in found),
        )
        for found, reason in reasons
        if found
    ]


def rare_classes(fingerprint: Fingerprint) -> list[Problem]:
    """Returns the classes with fewer than `FEW` training objects, or training images for semantic labels."""
    images = [image for image in fingerprint.images if image.split == TRAIN]
    problems = []
    for place, name in enumerate(fingerprint.class_names):
        if fingerprint.kind == INSTANCES:
            having = [image for image in images if (image.classes == place).any()]
            count, unit = sum(int((image.classes == place).sum()) for image in having), "object"
        else:
            having = [image for image in images if image.pixels[place]]
            count, unit = len(having), "image"
        if count < FEW:
            what = f"class {name} has {format_count(count, f'training {unit}')}, but {FEW} is a minimum to learn something"
            problems.append(Problem(what, tuple(image.name for image in having)))
    return problems


def _without_labels(fingerprint: Fingerprint) -> list[Problem]:
    if fingerprint.kind == INSTANCES:
        names = tuple(image.name for image in fingerprint.images if not len(image.boxes))
        what = "without objects: they only show background"
    else:
        names = tuple(image.name for image in fingerprint.images if not image.pixels[:_IGNORED].any())
        what = "whose pixels are all ignored: they teach nothing"
    return [Problem(f"{format_count(len(names), 'image')} {what}", names)] if names else []
