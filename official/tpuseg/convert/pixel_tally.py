"""The summary of a conversion to semantic records: pixels of every class, and what was changed."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tpuseg.convert import channel_values, objects, shards, tile_tally, wide_images
from tpuseg.convert.label_masks import LabelledImage
from tpuseg.convert.mask_values import LabelRules
from tpuseg.data import class_counts, semantic_records
from tpuseg.data.examples import Origin, SemanticExample
from tpuseg.data.tile_rules import WHOLE_IMAGES, TileRules


class PixelTally:
    """Collects the counts for the summary of semantic records."""

    def __init__(
        self,
        class_names: Sequence[str],
        rules: LabelRules,
        pixel_range: Sequence[float] = (),
        num_channels: int = 3,
        tiles: TileRules = WHOLE_IMAGES,
    ) -> None:
        """Starts without images.

        Args:
          class_names: class names in the order of the ids.
          rules: the classes of the masks.
          pixel_range: values that become black and white, for images with more than 8 bits.
          num_channels: number of channels of the images.
          tiles: how large images are cut.
        """
        self._class_names = list(class_names)
        self._rules = rules
        self._pixels = np.zeros(256, np.int64)
        self._num_examples = self._num_without_classes = 0
        self._reencoded: collections.Counter[str] = collections.Counter()
        self._notes: collections.Counter[str] = collections.Counter()
        self._exif: collections.Counter[str] = collections.Counter()
        self._wide = wide_images.WideImages(pixel_range)
        self.num_channels = num_channels
        self._tiles, self._cut_images, self._num_windows = tiles, set[str](), 0
        self._channels = channel_values.ChannelTally(num_channels)

    def add(self, labelled: LabelledImage, origin: Origin | None = None) -> None:
        """Adds an image, or a window of the image that `origin` names."""
        if origin:
            self._cut_images.add(origin.source_id)
            self._num_windows += 1
        self._pixels += labelled.counts
        self._num_examples += 1
        self._num_without_classes += not labelled.counts[: len(self._class_names)].any()
        self._reencoded.update([labelled.image.reencoded] if labelled.image.reencoded else [])
        self._notes.update([labelled.note] if labelled.note else [])
        self._wide.add(labelled.image.wide)
        self._channels.add(labelled.image.channels)
        self._exif.update(kind for kind, _ in objects.exif_findings(labelled.image, "apply"))

    def require_usable(self, masks: str) -> None:
        """Raises ValueError if the masks cannot be used for training.

        Args:
          masks: folder of the masks, for the message.
        """
        ignore_label = self._rules.ignore_label
        found = class_counts.contradiction(self._pixels, self._class_names, ignore_label)
        is_meant = dict(self._rules.values.mapped).get(ignore_label, "") is None
        if found and not (is_meant and self._pixels[: len(self._class_names)].any()):
            missing = int(np.flatnonzero(self._pixels[: len(self._class_names)] == 0)[-1])
            raise ValueError(
                f"{masks}: {found}; set what the value means: --mask_values={ignore_label}:{missing} if it is"
                f" `{self._class_names[missing]}`, --mask_values={ignore_label}:ignore if these pixels are to be ignored"
            )

    def _tile_summary(self) -> dict[str, Any]:
        """Returns the entry about windows; none if images are not cut."""
        tiles, counts = self._tiles, {"images": len(self._cut_images), "windows": self._num_windows}
        return {tile_tally.KEY: {"size": tiles.size, "overlap": tiles.overlap, **counts}} if tiles.size else {}

    def summary(self) -> dict[str, Any]:
        """Returns the counts."""
        values = self._rules.values
        rules = {
            "id_offset": values.offset,
            "ignored_values": list(values.ignored),
            "mapped_values": {str(value): self._rules.ignore_label if to is None else to for value, to in values.mapped},
            "ignores_other_values": values.ignores_others,
        }
        return {
            "num_examples": self._num_examples,
            "num_classes": len(self._class_names),
            "class_names": self._class_names,
            "ignore_label": self._rules.ignore_label,
            **({"mask_values": rules} if values.changes_values else {}),
            "pixels_per_class": dict(zip(self._class_names, self._pixels.tolist(), strict=False)),
            "ignored_share": float(self._pixels[self._rules.ignore_label] / self._pixels.sum()),
            "pictures_without_classes": self._num_without_classes,
            "reencoded": dict(self._reencoded),
            "mask_notes": dict(self._notes),
            "exif": dict(self._exif),
            **self._tile_summary(),
            **self._wide.summary(),
            **self._channels.summary(),
        }


class Named(NamedTuple):
    """A labelled image and its names.

    Attributes:
      source_id: id of the image.
      filename: name of its file.
      labelled: the image with its mask.
      origin: where a window of a larger image comes from; otherwise None.
    """

    source_id: str
    filename: str
    labelled: LabelledImage
    origin: Origin | None = None


def write(
    images: Iterable[Named],
    num_images: int,
    tally: PixelTally,
    output: str,
    split: str,
    num_shards: int,
    masks: str,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes labelled images to shards, and their summary.

    Args:
      images: the images with their masks, in the order of the records.
      num_images: number of images.
      tally: collects the counts.
      output: folder of the shards and of `{split}.json`.
      split: first part of the shards' names.
      num_shards: number of shards.
      masks: where the masks come from, for messages.
      more: additional entries of the summary.

    Returns:
      The summary.

    Raises:
      ValueError: the masks cannot be used for training.
    """

    def serialized() -> Iterator[bytes]:
        for image in images:
            tally.add(image.labelled, image.origin)
            yield semantic_records.encode_semantic(_example(image, tally.num_channels))

    written = shards.write(serialized(), num_images, output, split, num_shards, check=lambda: tally.require_usable(masks))
    return shards.write_summary(output, split, "semantic", tally.summary(), more, written)


def _example(named: Named, num_channels: int) -> SemanticExample:
    image = named.labelled.image
    return SemanticExample(
        image=image.data,
        image_format=image.format,
        height=image.height,
        width=image.width,
        source_id=named.source_id,
        filename=named.filename,
        labels=named.labelled.labels,
        num_channels=num_channels,
        origin=named.origin,
    )
