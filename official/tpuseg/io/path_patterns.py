"""Finding the files that match a pattern, on local disks and on gs://."""

import fnmatch
import glob
import os
import re

_MAGIC = re.compile(r"[*?[]")


def find(pattern: str, folder: str = "") -> list[str]:
    """Returns the files that match a pattern.

    If a file has the name of the pattern, only this file is returned, whatever characters it has: `photo [1].jpg`. If nothing
    matches, brackets are taken literally: `data [v1]/*.jpg`.

    Args:
      pattern: a path, which may contain `*`, `?`, `[abc]`, and `**` for any number of folders.
      folder: folder for relative patterns. Its name is never interpreted as a pattern.

    Returns:
      The files without folders, sorted.
    """
    path = os.path.join(folder, pattern)
    is_inside = bool(folder) and path.startswith(folder)
    start = glob.escape(folder) if is_inside else ""
    rest = path[len(folder) :] if is_inside else path
    find_in = _find_remote if "://" in path else _find_local
    for candidate in (start + glob.escape(rest), start + rest, start + rest.replace("[", "[[]")):
        found = find_in(candidate)
        if found:
            return sorted(found)
    return []


def _find_local(pattern: str) -> list[str]:
    return [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]


def _find_remote(pattern: str) -> list[str]:
    import tensorflow as tf  # Only needed for remote files.

    gfile = tf.io.gfile
    if "**" not in pattern:
        return [path for path in gfile.glob(pattern) if not gfile.isdir(path)]
    # TensorFlow does not support `**`, so all files below the last folder before it are compared.
    top, _, _ = pattern.partition("**")
    roots = [os.path.dirname(top)] if not _MAGIC.search(top) else gfile.glob(os.path.dirname(top))
    matches = re.compile(_translate_pattern(pattern)).fullmatch
    found = []
    for root in roots:
        for folder, _, names in gfile.walk(root):
            found += [path for name in names if matches(path := os.path.join(folder, name))]
    return found


def _translate_pattern(pattern: str) -> str:
    """Translates a pattern to a regular expression, in which only `**` matches a slash."""
    pieces = []
    for piece in re.split(r"(\*\*/|\*\*)", pattern):
        if piece.startswith("**"):
            pieces.append("(.*/)?" if piece.endswith("/") else ".*")
            continue
        # `fnmatch` translates `*` and `?`, and encloses the result in `(?s:` and `)\Z`.
        inner = fnmatch.translate(piece).removeprefix("(?s:").removesuffix(r")\Z")
        pieces.append(inner.replace(".*", "[^/]*"))
    return "".join(pieces)
