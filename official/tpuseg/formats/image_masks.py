"""Images and masks in separate folders (`images`, `masks`), or beside each other with a word in the names (`a_mask.png`)."""

import collections
from collections.abc import Sequence

from tpuseg.convert.objects import Finding
from tpuseg.data.examples import Category
from tpuseg.formats import mask_classes, pairing, split_names
from tpuseg.formats.dataset import SEMANTIC, Dataset, LabelledFile, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.formats.mask_files import MaskFile
from tpuseg.formats.pairing import Pair
from tpuseg.formats.registry import Format
from tpuseg.utils.messages import format_count, plural

# Maximum number of pairs of folders that the notes name.
_SHOWN = 4


class ImageMasks(Format):
    """Pairs of images and masks with a class for every pixel."""

    name = "image_masks"
    layout = "images and masks with the same names in folders such as images and masks, or beside each other (a.jpg, a_mask.png)"

    def detect(self, listing: Listing) -> str:
        """Looks for images and masks that belong together; most masks must have an image."""
        found = pairing.pair(listing.images())
        if not found.pairs or len(found.masks) > len(found.pairs):
            return ""
        return f"{found.pairs[0].mask} looks like the mask of {found.pairs[0].image}"

    def offered_kinds(self, listing: Listing) -> tuple[str, ...]:
        """Returns `semantic`: the masks have classes and no objects."""
        return (SEMANTIC,)

    def read(self, listing: Listing, options: Options) -> Dataset:
        """Pairs the files; the notes describe the pairs and the classes of the values."""
        require_kind(options.kind, self.offered_kinds(listing), listing.root)
        found = pairing.pair(listing.images())
        if not found.pairs:
            raise ValueError(f"{listing.root} has no image with a mask; it contains {listing.describe()}")
        findings = [Finding("image_without_labels", path) for path in found.images]
        findings += [Finding("labels_without_image", path) for path in found.masks]
        findings += [Finding("pair_unclear", " and ".join(group)) for group in found.contested]
        classes = mask_classes.find_classes(listing, [listing.path(one.mask) for one in found.pairs], options)
        images = [
            LabelledFile(
                listing.path(one.image),
                one.image,
                one.image,
                MaskFile(listing.path(one.mask), classes.rules),
                split_names.split_of(one.image.rpartition("/")[0]),
            )
            for one in found.pairs
        ]
        categories = tuple(Category(*named) for named in enumerate(classes.names))
        num_images = len(images) + len(found.images)
        notes = (*_describe(listing, found.pairs), *classes.notes)
        return Dataset(self.name, SEMANTIC, listing.root, categories, tuple(images), tuple(findings), num_images, None, notes)


def _describe(listing: Listing, pairs: Sequence[Pair]) -> list[str]:
    """Returns a line for each pair of folders with the number of its pairs and the first one."""
    by_folders = collections.defaultdict(list)
    for one in pairs:
        by_folders[one.image.rpartition("/")[0], one.mask.rpartition("/")[0]].append(one)
    lines = []
    for (images, masks), group in list(by_folders.items())[:_SHOWN]:
        first = group[0]
        lines.append(
            f"{format_count(len(group), 'image')} in {listing.folder_name(images)} {plural(len(group), 'has', 'have')}"
            f" {plural(len(group), 'its mask', 'their masks')} in {listing.folder_name(masks)}: the mask of"
            f" {first.image.rpartition('/')[2]} is {first.mask.rpartition('/')[2]}"
        )
    rest = sum(len(group) for group in list(by_folders.values())[_SHOWN:])
    return [*lines, f"{rest} images in {len(by_folders) - _SHOWN} more folders"] if rest else lines
