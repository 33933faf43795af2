"""The files of a data set in Pascal VOC's layout: its lists, and the paths of images and masks."""

import collections
import dataclasses
import os
from collections.abc import Sequence

from tpuseg.convert import images, inside
from tpuseg.convert.label_masks import Files
from tpuseg.io import text_files
from tpuseg.io.image_paths import ENDINGS
from tpuseg.utils.messages import format_count, plural

OBJECTS_FOLDER = "SegmentationObject"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The names of files and folders.

    Attributes:
      mask_dir: folder of the masks, relative to the root or absolute.
      image_suffix: suffix of image names after the name in the list, before the extension.
      mask_suffix: suffix of mask names after the name in the list, before the extension.
      allow_outside: whether names and symbolic links may lead out of the root.
    """

    mask_dir: str = "SegmentationClass"
    image_suffix: str = ""
    mask_suffix: str = ""
    allow_outside: bool = False


@dataclasses.dataclass(frozen=True)
class _Names:
    """The names in a list, and the list's path for messages."""

    path: str
    names: list[str]
    lines: list[int]


def find(voc_root: str, split: str, layout: Layout, objects: bool = False) -> list[Files]:
    """Returns the files of every image of a list, and checks that all of them exist.

    Args:
      voc_root: the folder with the images, the masks and ImageSets/Segmentation.
      split: name of the list.
      layout: names of files and folders.
      objects: whether masks of objects are needed too.

    Raises:
      ValueError: the list, an image or a mask is missing, or leads out of the root.
    """
    inside.require_split(split)
    listed = _read_list(voc_root, split)
    image_folder, mask_folder = os.path.join(voc_root, "JPEGImages"), os.path.join(voc_root, layout.mask_dir)
    object_folder = os.path.join(voc_root, OBJECTS_FOLDER) if objects else ""
    for folder in filter(None, (image_folder, mask_folder, object_folder)):
        if not os.path.isdir(folder):
            raise ValueError(f"there is no folder {folder}; is --voc_root right?")
    _refuse_outside_names(listed, image_folder, layout)
    found_images = [images.find_image(image_folder, name + layout.image_suffix) for name in listed.names]
    _require_images(listed, found_images, image_folder)
    masks = _masks(listed, mask_folder, layout.mask_suffix)
    object_masks = _masks(listed, object_folder, layout.mask_suffix) if objects else [""] * len(masks)
    found = [Files(*row) for row in zip(listed.names, map(str, found_images), masks, object_masks, strict=True)]
    if not layout.allow_outside:
        # A folder given by the user may be anywhere; paths in the data set must not lead out of it.
        elsewhere = os.path.isabs(layout.mask_dir) or ".." in layout.mask_dir.split(os.sep)
        allowed = inside.Folders([voc_root, mask_folder] if elsewhere else [voc_root])
        for kind in ([row.image for row in found], masks, object_masks if objects else []):
            _require_inside(listed, kind, allowed)
    return found


def _refuse_outside_names(listed: _Names, folder: str, layout: Layout) -> None:
    """Raises ValueError for a name that leads out of its folder, whether or not the file exists."""
    if layout.allow_outside:
        return
    odd = [name if os.path.isabs(name) or ".." in name.split(os.sep) else "" for name in listed.names]
    _require_inside(listed, [os.path.join(folder, name) for name in odd], inside.Folders([folder]))


def _read_list(root: str, split: str) -> _Names:
    folder = os.path.join(root, "ImageSets", "Segmentation")
    path = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(path):
        there = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".txt")) if os.path.isdir(folder) else []
        known = f"existing lists: {', '.join(there)}" if there else f"{folder} contains no lists; is --voc_root right?"
        raise ValueError(f"there is no list {path} ({known})")
    rows = [(number, line) for number, line in enumerate(text_files.read_lines(path, "list"), start=1) if line]
    if not rows:
        raise ValueError(f"{path} is empty")
    lines, names = [number for number, _ in rows], [name for _, name in rows]
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{path} lists {repeated[0]} twice ({format_count(len(repeated), 'image is', 'images are')} repeated)")
    return _Names(path, names, lines)


def _require_inside(listed: _Names, paths: Sequence[str], allowed: inside.Folders) -> None:
    """Raises ValueError for the first name of a list whose file is outside of the allowed folders."""
    for name, line, path in zip(listed.names, listed.lines, paths, strict=False):
        why = allowed.why_outside(name, path)
        if why:
            raise ValueError(f"{listed.path}, line {line}: `{name}`: {why}")


def _require_images(listed: _Names, images: Sequence[str | None], folder: str) -> None:
    missing = [(name, line) for name, line, path in zip(listed.names, listed.lines, images, strict=True) if path is None]
    if not missing:
        return
    name, line = missing[0]
    hint = _similar(folder, name, ENDINGS, "--image_suffix")
    if os.path.splitext(name)[1].lower() in ENDINGS:
        hint = "; the names in lists must not have extensions"
    raise ValueError(
        f"there is no image {os.path.join(folder, name)} ({', '.join(ENDINGS)}), which is listed in {listed.path}, line {line};"
        f" {format_count(len(missing), 'is', 'are')} missing{hint}"
    )


def _masks(listed: _Names, folder: str, suffix: str) -> list[str]:
    """Returns the paths of the masks; raises ValueError if one is missing."""
    paths = [os.path.join(folder, f"{name}{suffix}.png") for name in listed.names]
    missing = [(name, path) for name, path in zip(listed.names, paths, strict=True) if not os.path.isfile(path)]
    if missing:
        name, path = missing[0]
        hint = _similar(folder, name, (".png",), "--mask_suffix")
        lost = f"{len(missing)} of {len(paths)} {plural(len(missing), 'is', 'are')} missing"
        raise ValueError(f"there is no mask {path}; {lost}{hint}")
    return paths


def _similar(folder: str, name: str, endings: Sequence[str], flag: str) -> str:
    """Returns a hint about files whose names begin like a missing one."""
    folder, start = os.path.split(os.path.join(folder, name))
    if not os.path.isdir(folder):
        return f"; there is no folder {folder}"
    near = sorted(file for file in os.listdir(folder) if file.startswith(start))
    if not near:
        return ""
    stem, ending = os.path.splitext(near[0])
    advice = f"use {flag}={stem[len(start) :]}" if ending.lower() in endings and stem != start else f"{endings[0]} is needed"
    return f"; there is {near[0]}: {advice}"
