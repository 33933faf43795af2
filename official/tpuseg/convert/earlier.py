"""Whether records that would be replaced belong to the same data set: different data sets easily share a folder and a name."""

import hashlib
import os
from collections.abc import Sequence

from tpuseg.convert.label_masks import Files
from tpuseg.io import files
from tpuseg.utils.messages import counted

# In the summary.
KEY = "image_sample"
# What the records of each kind hold.
_KINDS = {"semantic": "a class for every pixel", "instances": "objects"}
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


def sample_of_files(rows: Sequence[Files]) -> str:
    """Returns the sample of the images of a VOC list."""
    return sample_of([(os.path.basename(row.image), row.image) for row in rows])


def refuse_other(output: str, split: str, kind: str, sample: str, overwrite: bool, way_out: str = "") -> None:
    """Raises ValueError if the records of a split in a folder are of another data set than those that are to be written.

    Args:
      output: the folder.
      split: first part of the files' names.
      kind: `semantic` or `instances`; records of the other kind are another data set, even if it has the same images.
      sample: of the images, see `sample_of`.
      overwrite: they may be replaced, so that nothing is refused.
      way_out: what else than replacing them could be done.
    """
    path = os.path.join(output, f"{split}.json")
    if overwrite or not files.exists(path):
        return
    try:
        summary = files.read_json(path)
    except (OSError, ValueError):
        return  # Damaged: nothing in it is worth keeping.
    if not isinstance(summary, dict):
        return
    before, kind_before = summary.get(KEY), summary.get("kind")
    if kind_before in _KINDS and kind_before != kind:
        different = f"its records hold {_KINDS[kind_before]}, these {_KINDS[kind]}"
    elif isinstance(before, str) and before and not set(before.split()) & set(sample.split()):
        different = f"{counted(summary.get('num_examples', 0), 'image')}, none of which is among these"
    else:
        return
    raise ValueError(
        f"{path} is of a different data set ({different}), and would be replaced; {way_out}choose another --output, or"
        " replace it with --overwrite"
    )
