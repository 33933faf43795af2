"""Whether records that would be replaced belong to the same data set: different data sets easily share a folder and a name."""

import hashlib
import os
from collections.abc import Sequence

from tpuseg import files

# In the summary.
KEY = "image_sample"
# Enough that two conversions of which one has a tenth of the other's images share some, but for one in a thousand.
_SIZE = 64


def sample_of(images: Sequence[tuple[str, str]]) -> str:
    """Returns a sample of a data set's images that two conversions share if they share images.

    Args:
      images: name and path of each.

    Returns:
      The smallest hashes of names and file sizes, with spaces between; where the files lie and their order make no difference.
    """
    hashes = {hashlib.sha1(f"{name}:{os.path.getsize(path)}".encode()).hexdigest()[:10] for name, path in images}
    return " ".join(sorted(hashes)[:_SIZE])


def refuse_other(output: str, split: str, sample: str) -> None:
    """Raises ValueError if the records of a split in a folder are of other images than those of a sample."""
    path = os.path.join(output, f"{split}.json")
    if not files.exists(path):
        return
    try:
        summary = files.read_json(path)
    except (OSError, ValueError):
        return  # Damaged: nothing in it is worth keeping.
    before = summary.get(KEY) if isinstance(summary, dict) else None
    if isinstance(before, str) and before and not set(before.split()) & set(sample.split()):
        raise ValueError(
            f"{path} is of a different data set ({summary.get('num_examples')} images, none of which is among these), and would be"
            " replaced; name these records with --split=, choose another --output, or replace it with --overwrite"
        )
