"""Which format the files of a folder are in."""

from tpuseg.formats import registry
from tpuseg.formats.dataset import Dataset, Options
from tpuseg.formats.listing import Listing
from tpuseg.formats.registry import Format


def detect_format(listing: Listing) -> Format:
    """Returns the format of a folder's labels.

    Raises:
      ValueError: the files fit no format, or several; names what the folder holds and the layouts there are, or the candidates.
    """
    known = registry.formats()
    reasons = {name: reason for name, one in known.items() if (reason := one.detect(listing))}
    if not reasons:
        layouts = "; ".join(f"{name}: {one.layout}" for name, one in sorted(known.items()) if one.layout)
        raise ValueError(
            f"{listing.root} is in no known format; it holds {listing.describe()}. Known layouts (--format= chooses one): {layouts}"
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
      folder: with the images and their labels.
      format_name: a name of `registry`; found out from the folder's files by default.
      options: how to read what can be read in two ways.

    Raises:
      ValueError: the format is unknown or not clear, or a file is missing or wrong; names it and says what to do.
    """
    listing = Listing(folder)
    chosen = registry.find(format_name) if format_name else detect_format(listing)
    return chosen.read(listing, options)
