"""Finding the split in the names of files and folders."""

import re

from tpuseg.formats.dataset import TEST, TRAIN, VAL

_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
_LETTERS = re.compile(r"[a-z]+")


def split_of(path: str) -> str:
    """Returns the split in a path: `train`, `val`, `test`, or an empty string.

    The last part of the path that contains one of the words train, val or test (or validation, valid, ...) decides, so
    `train/_annotations.coco.json` and `annotations/instances_train2017.json` are both `train`. A part with two splits, such as
    `train_val`, gives an empty string.

    Args:
      path: a path with `/` between its parts.
    """
    for part in reversed(path.split("/")):
        found = {_WORDS[word] for word in _LETTERS.findall(part.lower()) if word in _WORDS}
        if found:
            return found.pop() if len(found) == 1 else ""
    return ""
