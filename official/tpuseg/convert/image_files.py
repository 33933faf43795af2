"""The files of the images that an annotation file lists, also where it spells their names otherwise than the disk does."""

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
    """What stands for one listed name.

    Attributes:
      path: of the file; None if there is none, or if it is not clear which one is meant.
      kind: empty if the file lies where the name says; otherwise the finding, a key of `objects.REPAIRS`.
      detail: what the finding says about the file.
    """

    path: str | None
    kind: str = ""
    detail: str = ""


def find(folder: str, names: Sequence[str], allow_outside: bool = False) -> dict[str, Found]:
    """Looks for all images of an annotation file.

    A name is a path in the folder. Where there is no such file, the last part of the name is looked for in the folder (other
    programs put their own folders before it), and then a file whose name is the same but for percent-encoding, the Unicode
    form of accents, and upper and lower case. A file that is found so must belong to no other name.

    Args:
      folder: of the images.
      names: as listed.
      allow_outside: names and symbolic links may lead out of the folder.

    Returns:
      What was found, by the name.

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
    """Looks for names that are no path in the folder; `taken` has the files of the names that are, by their normal paths."""
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
    """Returns the last part of a normalised path without the ending of an image."""
    stem, ending = os.path.splitext(os.path.basename(name))
    return stem if ending in ENDINGS else os.path.basename(name)


def _index(folder: str) -> dict[str, list[str]]:
    """Returns the files in a folder by their normalised paths in it."""
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
