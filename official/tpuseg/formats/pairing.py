"""Pairing images with their masks by the names of files and folders."""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

# Words in names of files and folders that identify masks, images and splits.
_MASK_WORDS = (
    "masks mask labels label annotations annotation annot anno gts gt groundtruth ground_truth segmentations segmentation segs seg"
    " targets target trimaps trimap manual manual1 png_masks label_masks segmentation_masks"
).split()
_IMAGE_WORDS = "images image imgs img inputs input rgb sat raw original originals photos frames jpegimages".split()
_SPLIT_WORDS = "train training val valid validation test testing".split()


class Pair(NamedTuple):
    """An image and its mask.

    Attributes:
      image: path of the image.
      mask: path of the mask.
    """

    image: str
    mask: str


class Pairing(NamedTuple):
    """The result of pairing.

    Attributes:
      pairs: images with their masks, in the order of the images.
      images: paths of the images without a mask.
      masks: paths of the masks without an image.
      contested: groups of images, or of masks, that have the same key, so that it is not clear which of them belongs to a pair.
    """

    pairs: list[Pair]
    images: list[str]
    masks: list[str]
    contested: list[list[str]]


class _Key(NamedTuple):
    """The common part of the paths of an image and its mask: the path without the words that distinguish the two."""

    folders: tuple[str, ...]
    stem: str


def pair(paths: Sequence[str]) -> Pairing:
    """Pairs images with their masks.

    A file is a mask if a folder in its path has a name for masks (`masks`, `labels`, `train_masks`, `trainannot`), or if its own
    name begins or ends with one (`a_mask.png`, `a_gt.png`, `a_L.png`, `mask_1.png`). An image and a mask belong together if their
    paths are equal without these words, those for images (`images`, `a_image.png`), and the ending.

    Args:
      paths: paths of all image files, with `/` between the parts.
    """
    images: dict[_Key, list[str]] = collections.defaultdict(list)
    masks: dict[_Key, list[str]] = collections.defaultdict(list)
    for path in paths:
        key, is_mask = _key(path)
        (masks if is_mask else images)[key].append(path)
    contested = [sorted(group) for groups in (images, masks) for group in groups.values() if len(group) > 1]
    shared = [key for key in images if len(images[key]) == len(masks.get(key, ())) == 1]
    pairs = sorted(Pair(images[key][0], masks[key][0]) for key in shared)
    used = {path for one in pairs for path in one} | {path for group in contested for path in group}
    rest = [sorted(path for group in groups.values() for path in group if path not in used) for groups in (images, masks)]
    return Pairing(pairs, rest[0], rest[1], sorted(contested))


def _key(path: str) -> tuple[_Key, bool]:
    """Returns the key of a path, and whether the path is that of a mask."""
    *folders, name = path.split("/")
    parts, is_mask = [], False
    for folder in folders:
        rest, says_mask = _without_words(folder.lower(), _FOLDER)
        is_mask |= says_mask
        parts += [rest] if rest else []
    rest, says_mask = _without_words(name.rpartition(".")[0], _STEM)
    return _Key(tuple(parts), rest), is_mask or says_mask


def _without_words(text: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str, bool]:
    """Returns a name without the words for images and masks, and whether one of them was a word for masks."""
    is_mask = False
    for pattern in patterns:
        found = pattern.fullmatch(text)
        if found:
            is_mask |= bool(found["mask"])
            text = found["rest"]
    return text, is_mask


def _patterns(*forms: str) -> list[re.Pattern[str]]:
    words = {"mask": "|".join(_MASK_WORDS), "image": "|".join(_IMAGE_WORDS), "split": "|".join(_SPLIT_WORDS)}
    both = "(?i:(?P<mask>{mask})|{image})".format(**words)
    return [re.compile(form.replace("WORD", both).replace("SPLIT", words["split"])) for form in forms]


_FOLDER = _patterns("(?P<rest>)WORD", "(?P<rest>.+)[_. -]WORD", "WORD[_. -](?P<rest>.+)", "(?P<rest>SPLIT)WORD")
# CamVid's own masks end in _L.
_STEM = [*_patterns("(?P<rest>.+)[_. -]WORD", "WORD[_. -](?P<rest>.+)"), re.compile("(?P<rest>.+)_(?P<mask>L)")]
