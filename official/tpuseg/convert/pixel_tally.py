"""The summary of a conversion to semantic records: pixels of every class, and what was changed."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tpuseg.convert import channel_values, objects, shards, wide_images
from tpuseg.convert.label_masks import LabelledImage
from tpuseg.convert.mask_values import LabelRules
from tpuseg.data import class_counts, semantic_records
from tpuseg.data.examples import SemanticExample


class PixelTally:
    """Collects the counts for the summary of semantic records."""

    def __init__(
        self, class_names: Sequence[str], rules: LabelRules, pixel_range: Sequence[float] = (), num_channels: int = 3
    ) -> None:
        """Starts without images.

        Args:
          class_names: class names in the order of the ids.
          rules: the classes of the masks.
          pixel_range: values that become black and white, for images with more than 8 bits.
          num_channels: number of channels of the images.
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
        self._channels = channel_values.ChannelTally(num_channels)

    def add(self, labelled: LabelledImage) -> None:
        """Adds an image."""
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
            **self._wide.summary(),
            **self._channels.summary(),
        }


def write(
    images: Iterable[tuple[str, str, LabelledImage]],
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
      images: id, file name, and the image with its mask, in the order of the records.
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
        for source_id, filename, labelled in images:
            tally.add(labelled)
            yield semantic_records.encode_semantic(_example(source_id, filename, labelled, tally.num_channels))

    written = shards.write(serialized(), num_images, output, split, num_shards, check=lambda: tally.require_usable(masks))
    return shards.write_summary(output, split, "semantic", tally.summary(), more, written)


def _example(source_id: str, filename: str, labelled: LabelledImage, num_channels: int) -> SemanticExample:
    return SemanticExample(
        image=labelled.image.data,
        image_format=labelled.image.format,
        height=labelled.image.height,
        width=labelled.image.width,
        source_id=source_id,
        filename=filename,
        labels=labelled.labels,
        num_channels=num_channels,
    )
