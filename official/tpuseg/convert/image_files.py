"""Finding the files of the images in an annotation file, also if their names are spelled differently on disk."""

import collections
import dataclasses
import os
import unicodedata
import urllib.parse
from collections.abc import Sequence

from tpuseg.convert import inside
from tpuseg.io.image_paths import ENDINGS


@dataclasses.dataclass(frozen=True)
class Found:
    """The file that was found for a listed name.

    Attributes:
      path: path of the file; None if there is none, or if several match.
      kind: empty if the name is the path of the file; otherwise the kind of finding, a key of `objects.REPAIRS`.
      detail: text of the finding.
    """

    path: str | None
    kind: str = ""
    detail: str = ""


def find(folder: str, names: Sequence[str], allow_outside: bool = False) -> dict[str, Found]:
    """Finds all images of an annotation file.

    A name is a path relative to the folder. If there is no such file, the last part of the name is looked for in the folder (some
    programs add their own folders), and then a file whose name differs only in percent-encoding, the Unicode form of accents, or
    upper and lower case. A file found in this way must not belong to another name.

    Args:
      folder: folder of the images.
      names: names in the annotation file.
      allow_outside: whether names and symbolic links may lead out of the folder.

    Returns:
      The results by name.

    Raises:
      ValueError: a name leads to a file outside of the folder.
    """
    found: dict[str, Found] = {}
    missing = []
    for name in dict.fromkeys(names):
        path = os.path.join(folder, name.replace("\\", "/"))
        if os.path.isfile(path):
            found[name] = Found(path)
        else:
            missing.append(name)
    if missing:
        taken = {os.path.normpath(str(one.path)): name for name, one in found.items()}
        found |= _find_otherwise(folder, missing, taken)
    if not allow_outside:
        _refuse_outside(folder, found)
    return found


def _refuse_outside(folder: str, found: dict[str, Found]) -> None:
    folders = inside.Folders([folder])
    for name, one in found.items():
        why = folders.why_outside(name, one.path) if one.path else None
        if why:
            raise ValueError(f"file_name `{name}`: {why}")


def _find_otherwise(folder: str, names: Sequence[str], taken: dict[str, str]) -> dict[str, Found]:
    """Finds names that are not paths in the folder; `taken` has the names that are, by the normalized path of their file."""
    index: dict[str, list[str]] | None = None
    stems: dict[str, str] = {}
    found: dict[str, Found] = {}
    for name in names:
        last = os.path.basename(name.replace("\\", "/"))
        path = os.path.join(folder, last)
        if last and os.path.isfile(path):
            found[name] = Found(path, "image_in_other_folder", f"{path} is used")
            continue
        if index is None:
            index = _index(folder)
            stems = {_stem(key): files[0] for key, files in index.items()}
        spellings = [key for key in (normal_form(name), normal_form(last)) if key in index]
        files = index[spellings[0]] if spellings else []
        if len(files) == 1:
            found[name] = Found(files[0], "image_spelled_otherwise", f"{files[0]} is used")
        elif files:
            found[name] = Found(None, "image_ambiguous", f"it can be {files[0]} or {files[1]}")
        else:
            alike = stems.get(_stem(normal_form(last)), "")
            hint = f"; there is {alike}: correct the file_name" if alike else ""
            found[name] = Found(None, "image_missing", f"there is no {os.path.join(folder, name)}{hint}")
    wanted = collections.defaultdict(list)
    for name, one in found.items():
        if one.path:
            wanted[os.path.normpath(one.path)].append(name)
    for path, rivals in wanted.items():
        others = [*rivals, *([taken[path]] if path in taken else [])]
        for name in rivals if len(others) > 1 else ():
            other = next(rival for rival in reversed(others) if rival != name)
            found[name] = Found(None, "image_ambiguous", f"{path} can also be `{other}`")
    return found


def _stem(name: str) -> str:
    """Returns the last part of a normalized path without an image extension."""
    stem, ending = os.path.splitext(os.path.basename(name))
    return stem if ending in ENDINGS else os.path.basename(name)


def _index(folder: str) -> dict[str, list[str]]:
    """Returns the files in a folder by their normalized relative paths."""
    index = collections.defaultdict(list)
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            index[normal_form(os.path.relpath(path, folder))].append(path)
    return dict(index)


def normal_form(name: str) -> str:
    """Returns a form that is the same for all spellings of a name."""
    return unicodedata.normalize("NFC", urllib.parse.unquote(name.replace("\\", "/"))).casefold()
