"""The summary of a conversion to instance records: counts, findings, and losses."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tpuseg.convert import channel_values, objects, shards, tile_tally, wide_images
from tpuseg.convert.objects import REPAIRS, Finding
from tpuseg.convert.tiling import Plans
from tpuseg.data import instance_records
from tpuseg.data.examples import Category
from tpuseg.data.tile_rules import WHOLE_IMAGES, TileRules
from tpuseg.utils.messages import format_count, plural

# Number of findings of each kind that are listed.
_LISTED = 5
# If more than this fraction is lost, the first line of the output says so.
_MUCH = 0.1
# Findings by which an image or an object is lost; if nothing is left, they are reported first.
_LOSSES = (
    "image_missing image_ambiguous image_unreadable image_size_differs unknown_image unknown_category outside no_mask"
    " relative_coordinates object_without_class polygon_unusable"
).split()
# Of these, the findings that explain the cause best.
_EXPLAIN_LOSSES = ("polygon_unusable", "relative_coordinates")


class Tally:
    """Collects the counts, findings and losses for the summary."""

    def __init__(
        self,
        categories: list[Category],
        findings: list[Finding],
        source: str = "",
        num_images: int = 0,
        num_annotations: int | None = None,
        pixel_range: Sequence[float] = (),
        num_channels: int = 3,
        tiles: TileRules = WHOLE_IMAGES,
        plans: Plans | None = None,
    ) -> None:
        """Starts with the findings before any image is read.

        Args:
          categories: categories of the data set.
          findings: findings about its lists.
          source: path of the file that lists the images, for messages.
          num_images: number of listed images.
          num_annotations: number of listed annotations; None if objects are only defined by masks.
          pixel_range: values that become black and white, for images with more than 8 bits.
          num_channels: number of channels of the images.
          tiles: how large images are cut.
          plans: the windows that they are cut into; None if images are not cut.
        """
        self._categories, self._source = categories, source
        self._num_images, self._num_annotations = num_images, num_annotations
        # Numbers of images and annotations in records; those of an image count once, not once in each window.
        self._num_kept_images = self._num_kept_annotations = 0
        self._tiles, self._plans = tile_tally.TileTally(tiles), plans
        self._findings: dict[str, list[str]] = collections.defaultdict(list)
        self._counts: collections.Counter[str] = collections.Counter()
        self._objects = [0] * len(categories)
        self._reencoded: collections.Counter[str] = collections.Counter()
        self._wide = wide_images.WideImages(pixel_range)
        self._channels = channel_values.ChannelTally(num_channels)
        self._num_examples = self._num_crowds = self._most_crowds = 0
        # Number of images by number of instances.
        self._per_image: collections.Counter[int] = collections.Counter()
        self._note(findings)

    def _note(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._counts[finding.kind] += 1
            if len(self._findings[finding.kind]) < _LISTED:
                self._findings[finding.kind].append(finding.where)

    def add(self, converted: objects.Converted) -> None:
        """Adds an image."""
        self._note(converted.findings)
        if converted.tile:
            self._tiles.add(converted.tile, converted.example is not None)
            self._num_kept_images += converted.tile.is_first
            self._num_kept_annotations += converted.tile.num_annotations - converted.num_ignored
        if converted.example is None:
            return
        if not converted.tile:
            self._num_kept_images += 1
            self._num_kept_annotations += len(converted.example.instances) - converted.num_ignored
        instances = [instance for instance in converted.example.instances if not instance.is_crowd]
        for instance in instances:
            self._objects[instance.class_index] += 1
        num_crowds = len(converted.example.instances) - len(instances)
        self._num_examples += 1
        self._num_crowds += num_crowds
        if not converted.tile:
            self._tiles.add_whole(num_crowds)
        self._most_crowds = max(self._most_crowds, num_crowds)
        self._per_image[len(instances)] += 1
        self._reencoded.update([converted.reencoded] if converted.reencoded else [])
        self._wide.add(converted.wide)
        self._channels.add(converted.channels)

    def losses(self) -> dict[str, list[int]]:
        """Returns the numbers of lost and of listed images, and the same for annotations."""
        kept = self._num_kept_annotations
        annotations = self._num_annotations
        if annotations is None:
            annotations = kept + self._counts["object_without_class"]
        return {
            "images": [max(self._num_images - self._num_kept_images, 0), self._num_images],
            "annotations": [max(annotations - kept, 0), annotations],
        }

    def require_some(self) -> None:
        """Raises ValueError with the most frequent reason if no image or no object is left."""
        if self._num_examples and sum(self._objects):
            return
        what = f"no image of {self._num_images}" if not self._num_examples else "no object"
        if self._plans and self._plans.num_never:
            raise ValueError(f"{self._source}: {what} is left for training; {self._tiles.explain_loss()}")
        reasons = [kind for kind in REPAIRS if self._counts[kind]]
        if not reasons:
            raise ValueError(f"{self._source}: {what} is left for training; the masks have none")
        most = max(reasons, key=lambda kind: (kind in _LOSSES, self._counts[kind], kind in _EXPLAIN_LOSSES))
        raise ValueError(
            f"{self._source}: {what} is left for training; {REPAIRS[most][0]} ({self._counts[most]}), the first is"
            f" {self._findings[most][0]}"
        )

    def _planned(self) -> dict[str, int]:
        if self._plans is None:
            return {}
        plans = self._plans
        return {
            "empty_windows": plans.num_empty,
            "left_out_windows": plans.num_left_out,
            "never_instances": plans.num_never,
        }

    def summary(self) -> dict[str, Any]:
        """Returns the counts, and the first findings of each kind."""
        names = [category.name for category in self._categories]
        return {
            "num_examples": self._num_examples,
            "num_classes": len(names),
            "class_names": names,
            "categories": [{"id": category.id, "name": category.name} for category in self._categories],
            "num_objects": sum(self._objects),
            "num_crowds": self._num_crowds,
            "most_objects": max(self._per_image, default=0),
            "most_crowds": self._most_crowds,
            "pictures_without_objects": self._per_image[0],
            "instances_per_image": [[count, self._per_image[count]] for count in sorted(self._per_image)],
            "objects_per_class": dict(zip(names, self._objects, strict=True)),
            "findings": {
                kind: {"what": what, "done": done, "count": self._counts[kind], "first": self._findings[kind]}
                for kind, (what, done) in REPAIRS.items()
                if self._counts[kind]
            },
            "lost": self.losses(),
            "reencoded": dict(self._reencoded),
            **self._tiles.summary(self._planned()),
            **self._wide.summary(),
            **self._channels.summary(),
        }


def write(
    images: Iterable[objects.Converted],
    num_pictures: int,
    tally: Tally,
    output: str,
    split: str,
    num_shards: int,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes converted images to shards, and their summary.

    Args:
      images: converted images in the order of the records; those without an example are only counted.
      num_pictures: number of images and windows.
      tally: collects the counts.
      output: folder of the shards and of `{split}.json`.
      split: first part of the shards' names.
      num_shards: number of shards.
      more: additional entries of the summary.

    Returns:
      The summary.

    Raises:
      ValueError: no image or no object is left.
    """

    def serialized() -> Iterator[bytes]:
        for converted in images:
            tally.add(converted)
            if converted.example:
                yield instance_records.encode_instances(converted.example)

    written = shards.write(serialized(), num_pictures, output, split, num_shards, tally.require_some)
    return shards.write_summary(output, split, "instances", tally.summary(), more, written)


def describe(summary: dict[str, Any]) -> str:
    """Formats the summary of a conversion for the output of the converter."""
    counts, total = summary["objects_per_class"], max(summary["num_objects"], 1)
    width = max(len(name) for name in counts)
    lines = _loss_lines(summary) + [
        f"{format_count(summary['num_examples'], 'image')} in {format_count(len(summary['shards']), 'shard')},"
        f" {format_count(summary['num_classes'], 'class', 'classes')}, {format_count(summary['num_objects'], 'object')} (at most"
        f" {summary['most_objects']} an image), {format_count(summary['num_crowds'], 'ignored region')},"
        f" {format_count(summary['pictures_without_objects'], 'image')} without objects"
    ]
    for category in summary["categories"]:
        count = counts[category["name"]]
        shown = f"{count:10,d} {plural(count, 'object'):7} {count / total:7.2%}"
        lines.append(f"  {category['id']:4d} {category['name']:{width}} {shown}")
    for finding in summary["findings"].values():
        lines.append(f"  {finding['what']} ({finding['count']}): {finding['done']}")
        lines += [f"      {where}" for where in finding["first"]]
        if finding["count"] > len(finding["first"]):
            lines.append("      ...")
    ambiguous, stored = (summary["findings"].get(kind) for kind in ("exif_ambiguous", "exif_not_applied"))
    if ambiguous and stored and "--exif=apply" in ambiguous["first"][0]:
        lines.append("  the second kind shows that stored pixels were annotated; --exif=ignore is probably right for the first")
    lines += [f"  {format_count(count, 'image')} re-encoded: {reason}" for reason, count in summary["reencoded"].items()]
    lines += tile_tally.describe(summary) + wide_images.describe(summary) + channel_values.describe(summary)
    return "\n".join(lines)


def _loss_lines(summary: dict[str, Any]) -> list[str]:
    """Returns a warning if a large fraction of the images or annotations is lost."""
    parts = [f"{lost} of {listed} {what}" for what, (lost, listed) in summary["lost"].items() if lost > _MUCH * listed]
    lines = [f"WARNING: {' and '.join(parts)} are lost, for the reasons below"] if parts else []
    crowds, listed = summary["num_crowds"], summary["lost"]["annotations"][1]
    if tile_tally.KEY in summary:  # The windows of a large image repeat its ignored regions.
        crowds = summary[tile_tally.KEY]["annotated_crowds"]
    if crowds > _MUCH * listed and not parts:
        lines.append(
            f"WARNING: {crowds} of {listed} annotations are ignored as their iscrowd is not 0; if they are single objects"
            " (CVAT writes 1 for every brush mask), convert with --crowds=instances"
        )
    return lines
