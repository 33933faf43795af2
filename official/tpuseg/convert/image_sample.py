"""A sample of the images of a data set, which shows whether existing records with the same name are of another data set."""

import hashlib
import os
from collections.abc import Sequence

from tpuseg.convert.label_masks import Files
from tpuseg.io import files
from tpuseg.utils.messages import format_count

# Key in the summary.
KEY = "image_sample"
# Contents of the records of each kind.
_KINDS = {"semantic": "a class for every pixel", "instances": "objects"}
# Large enough that two conversions, of which one has a tenth of the other's images, have a hash in common with p > 0.999.
_SIZE = 64


def sample_of(images: Sequence[tuple[str, str]]) -> str:
    """Returns a sample of the images of a data set; the samples of two data sets with common images have common hashes.

    Args:
      images: name and path of each image.

    Returns:
      The smallest hashes of names and file sizes, separated by spaces; independent of the folder and the order of the files.
    """
    hashes = {hashlib.sha1(f"{name}:{os.path.getsize(path)}".encode()).hexdigest()[:10] for name, path in images}
    return " ".join(sorted(hashes)[:_SIZE])


def sample_of_files(rows: Sequence[Files]) -> str:
    """Returns the sample of the images of a VOC list."""
    return sample_of([(os.path.basename(row.image), row.image) for row in rows])


def refuse_other(output: str, split: str, kind: str, sample: str, overwrite: bool, advice: str = "") -> None:
    """Raises ValueError if a folder contains records of the same split from another data set.

    Args:
      output: the folder.
      split: first part of the shards' names.
      kind: `semantic` or `instances`; records of the other kind count as another data set, even with the same images.
      sample: sample of the images, see `sample_of`.
      overwrite: whether existing records may be replaced, so that nothing is refused.
      advice: an alternative to replacing them, for the message.
    """
    path = os.path.join(output, f"{split}.json")
    if overwrite or not files.exists(path):
        return
    try:
        summary = files.read_json(path)
    except (OSError, ValueError):
        return  # A damaged summary is replaced.
    if not isinstance(summary, dict):
        return
    before, kind_before = summary.get(KEY), summary.get("kind")
    if kind_before in _KINDS and kind_before != kind:
        different = f"its records contain {_KINDS[kind_before]}, the new ones {_KINDS[kind]}"
    elif isinstance(before, str) and before and not set(before.split()) & set(sample.split()):
        different = f"{format_count(summary.get('num_examples', 0), 'image')}, none of which is among these"
    else:
        return
    raise ValueError(
        f"{path} is of a different data set ({different}), and would be replaced; {advice}choose another --output, or"
        " replace it with --overwrite"
    )
