"""Finding files with the same bytes, so that copies of an image are kept in the same split."""

import collections
import hashlib
import os
from collections.abc import Sequence


def find_equal_files(paths: Sequence[str]) -> list[list[int]]:
    """Returns the groups of files with the same bytes, as lists of positions in `paths`.

    Only files that have the same size as another one are read. Two different files can still decode to the same pixels; this is
    found later, when the records are examined. A file that cannot be read is in no group.
    """
    by_size: dict[int, list[int]] = collections.defaultdict(list)
    for place, path in enumerate(paths):
        if os.path.isfile(path):
            by_size[os.path.getsize(path)].append(place)
    by_content: dict[bytes, list[int]] = collections.defaultdict(list)
    for places in by_size.values():
        for place in places if len(places) > 1 else ():
            digest = _digest(paths[place])
            if digest:
                by_content[digest].append(place)
    return [places for places in by_content.values() if len(places) > 1]


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except OSError:
        return b""
