"""Looking up the image ids of an annotation file by file name."""

import posixpath
from collections.abc import Mapping, Sequence

from tpuseg.convert import coco_file
from tpuseg.convert.image_files import normal_form
from tpuseg.data.examples import image_id
from tpuseg.utils.messages import format_count, plural


def of_images(paths: Sequence[str], names: Mapping[str, str], annotations: str) -> dict[str, int | str]:
    """Returns the ids of images for a results file, and prints which images have none.

    Args:
      paths: paths of the images.
      names: name of each path. Without an annotation file, a name that consists of digits is a numeric id, as in COCO's file names.
      annotations: path of a file in COCO format, or empty.

    Raises:
      ValueError: the annotation file cannot be used, or a path matches several of its images; the message names it.
    """
    if not annotations:
        return {path: image_id(names[path]) for path in paths}
    known = ImageIds(coco_file.read_image_ids(annotations), annotations)
    found = {path: known.find(path) for path in paths}
    missing = [path for path, one in found.items() if one is None]
    if len(missing) == len(paths):
        raise ValueError(f"--annotations={annotations} lists 0 of {format_count(len(paths), 'image')}, for example {missing[0]!a}")
    if missing:
        print(
            f"{len(missing)} of {format_count(len(paths), 'image')} {plural(len(missing), 'is', 'are')} not in {annotations},"
            f" and left out of results.json; the first is {missing[0]!a}",
            flush=True,
        )
    return {path: one for path, one in found.items() if one is not None}


class ImageIds:
    """Image ids by file name.

    The names in an annotation file and the paths may have different leading folders: the name with the longest common end is used.
    Names that differ in percent-encoding, the Unicode form of accents, or upper and lower case are also found.
    """

    def __init__(self, ids: Mapping[str, int | str], source: str) -> None:
        """Prepares the search.

        Args:
          ids: image id of each name in the annotation file.
          source: path of the annotation file, for messages.
        """
        self._source = source
        # By a normal form that is equal for all spellings of a name.
        self._alike: dict[str, list[str]] = {}
        self._ids = {name.replace("\\", "/"): image_id for name, image_id in ids.items()}
        for name in self._ids:
            self._alike.setdefault(normal_form(posixpath.basename(name)), []).append(name)

    def find(self, path: str) -> int | str | None:
        """Returns the id of an image, None if the annotation file does not list it.

        Args:
          path: path of the image.

        Raises:
          ValueError: the path matches several images of the annotation file.
        """
        path = path.replace("\\", "/")
        candidates = self._alike.get(normal_form(posixpath.basename(path)), [])
        if not candidates:
            return None
        # A name in the same spelling shares at least its last part with the path, one in another spelling shares none.
        ends = {name: _common_end(name, path) for name in candidates}
        longest = max(ends.values())
        found = [name for name in candidates if ends[name] == longest]
        if len(found) > 1:
            raise ValueError(
                f"{self._source}: `{path}` matches {' and '.join(f'`{name}`' for name in found[:3])}; predict a folder whose"
                " subfolders are those of the annotation file"
            )
        return self._ids[found[0]]


def _common_end(name: str, path: str) -> int:
    """Returns the number of equal parts at the end of two paths."""
    pairs = zip(reversed(name.split("/")), reversed(path.split("/")), strict=False)
    count = 0
    for first, second in pairs:
        if first != second:
            break
        count += 1
    return count
