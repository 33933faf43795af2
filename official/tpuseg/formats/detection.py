"""Detecting the format of a folder, and reading its data set."""

from tpuseg.convert import inside
from tpuseg.formats import registry
from tpuseg.formats.dataset import Dataset, Options
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MaskFile
from tpuseg.formats.registry import Format


def detect_format(listing: Listing) -> Format:
    """Returns the format of a folder's labels.

    Raises:
      ValueError: the files match no format, or several; the message lists the contents of the folder and the known layouts, or the
        candidates.
    """
    known = registry.formats()
    reasons = {name: reason for name, one in known.items() if (reason := one.detect(listing))}
    for name in list(reasons):
        for general in known[name].instead_of:
            reasons.pop(general, None)
    if not reasons:
        layouts = "; ".join(f"{name}: {one.layout}" for name, one in sorted(known.items()) if one.layout)
        raise ValueError(
            f"{listing.root} is in no known format; it contains {listing.describe()}. Known layouts (--format= chooses one):"
            f" {layouts}"
        )
    if len(reasons) > 1:
        candidates = "; ".join(f"{name} ({reason})" for name, reason in reasons.items())
        raise ValueError(f"{listing.root} can be read in {len(reasons)} formats: {candidates}. Choose one with --format=NAME")
    return known[next(iter(reasons))]


def read_dataset(
    folder: str,
    format_name: str = "",
    options: Options = Options(),  # noqa: B008 - cannot be changed.
) -> Dataset:
    """Reads a data set.

    Args:
      folder: folder with the images and their labels.
      format_name: name of a format in `registry`; by default, the format is detected from the files of the folder.
      options: options for everything that the files leave open.

    Raises:
      ValueError: the format is unknown or not clear, or a file is missing or wrong; the message names it and says what to do.
    """
    listing = Listing(folder)
    chosen = registry.find(format_name) if format_name else detect_format(listing)
    dataset = chosen.read(listing, options)
    if not options.allow_outside:
        _refuse_outside(dataset, folder)
    return dataset


def _refuse_outside(dataset: Dataset, folder: str) -> None:
    """Raises ValueError if a symbolic link leads to an image or mask outside of the folder."""
    allowed = inside.Folders([folder])
    for image in dataset.images:
        for path in (image.path, image.labels.path if isinstance(image.labels, MaskFile) else image.path):
            why = allowed.why_outside(image.name, path)
            if why:
                raise ValueError(f"`{image.name}`: {why}")
