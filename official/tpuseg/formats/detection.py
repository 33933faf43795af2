"""Detecting the format of a folder, and reading its data set."""

import dataclasses
import os
import re

from tpuseg.convert import inside
from tpuseg.convert.objects import Finding
from tpuseg.formats import registry
from tpuseg.formats.dataset import Dataset, Options
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MaskFile
from tpuseg.formats.registry import Format

# What stands between the names of files in the texts of findings.
_SEPARATORS = re.compile(r"[\s`'\"():,;]+")


def detect_format(listing: Listing) -> Format:
    """Returns the format of a folder's labels.

    Raises:
      ValueError: the files match no format, or several; the message lists the contents of the folder and the known formats, or
        the candidates.
    """
    known = registry.formats()
    reasons = {name: reason for name, one in known.items() if (reason := one.detect(listing))}
    for name in list(reasons):
        for general in known[name].instead_of:
            reasons.pop(general, None)
    if not reasons:
        raise ValueError(
            f"{listing.root} is in no known format; it contains {listing.describe()}. Give --format=NAME to learn what is"
            f" missing for one of {', '.join(sorted(known))}; docs/own_data.md shows the files of each"
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
    try:
        dataset = chosen.read(listing, options)
    except ValueError as error:
        if chosen.detect(listing):
            raise
        raise ValueError(f"{error}; --format={chosen.name} reads {chosen.layout}") from error
    if not options.allow_outside:
        _refuse_outside(dataset, folder)
    unused = [Finding("image_unused", path) for path in find_unused_images(dataset, listing)]
    return dataclasses.replace(dataset, findings=(*dataset.findings, *unused))


def find_unused_images(dataset: Dataset, listing: Listing) -> list[str]:
    """Returns the images that are in the same folders as the images of a data set, but are not part of it.

    Masks, and images that a finding of the format names already, are left out.

    Args:
      dataset: the data set after it was read.
      listing: files of its folder.
    """
    images = {os.path.relpath(image.path, listing.root).replace(os.sep, "/") for image in dataset.images}
    masks = {os.path.relpath(image.labels.path, listing.root) for image in dataset.images if isinstance(image.labels, MaskFile)}
    folders, used = {path.rpartition("/")[0] for path in images}, images | masks
    named = {word for finding in dataset.findings for word in _SEPARATORS.split(finding.where)}
    return [
        path
        for path in listing.images()
        if path.rpartition("/")[0] in folders
        and path not in used
        and not named & {path, path.rpartition("/")[2], listing.path(path)}
    ]


def _refuse_outside(dataset: Dataset, folder: str) -> None:
    """Raises ValueError if a symbolic link leads to an image or mask outside of the folder."""
    allowed = inside.Folders([folder])
    for image in dataset.images:
        for path in (image.path, image.labels.path if isinstance(image.labels, MaskFile) else image.path):
            why = allowed.why_outside(image.name, path)
            if why:
                raise ValueError(f"`{image.name}`: {why}")
