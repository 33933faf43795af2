"""Converting images that are larger than a window: which windows are written, and their examples.

The images are read twice. First, only their sizes and annotations: this tells which windows have instances, and which of the empty
ones are kept, for the whole data set. Then the chosen windows are converted, in tasks of limited size.

Worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from tpuseg.convert import cutting, image_windows, objects
from tpuseg.convert.cutting import Visible
from tpuseg.convert.objects import AnnotatedImage, Converted, Finding, Outline, TileCounts
from tpuseg.data.examples import Origin, window_id
from tpuseg.data.tile_rules import TileRules
from tpuseg.io.image_channels import WrongChannelsError
from tpuseg.ops import mask_windows
from tpuseg.ops.windows import Window
from tpuseg.utils import parallel

# Pixels of the windows of a task, which limits the memory of results that wait for being written.
_PIXELS_PER_TASK = 1 << 26


class Reader(Protocol):
    """Reads the images of a data set; it is sent to worker processes."""

    @property
    def options(self) -> objects.Options:
        """How images are read."""

    @property
    def refuses_unreadable(self) -> bool:
        """Whether a file that cannot be read ends the conversion, instead of being a finding."""

    def size_of(self, item: Any) -> tuple[int, int]:
        """Returns the height and width of an image, without decoding it; raises ValueError if it cannot be read."""

    def annotations_of(self, item: Any) -> tuple[AnnotatedImage, list[Finding]]:
        """Reads the annotations of an image."""

    def convert(self, item: Any) -> Converted:
        """Converts a whole image."""


@dataclasses.dataclass(frozen=True)
class AnnotatedReader:
    """A `Reader` of images whose annotations were read from a common file.

    Attributes:
      options: how images are read.
      refuses_unreadable: see `Reader`.
    """

    options: objects.Options
    refuses_unreadable: bool = False

    def size_of(self, item: AnnotatedImage) -> tuple[int, int]:
        """Returns the annotated height and width, or those of the file; raises ValueError if they differ."""
        return image_windows.size_of(item.path, item.size)

    def annotations_of(self, item: AnnotatedImage) -> tuple[AnnotatedImage, list[Finding]]:
        """Returns the image itself."""
        return item, []

    def convert(self, item: AnnotatedImage) -> Converted:
        """See `objects.convert`."""
        return objects.convert(item, self.options)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The windows of an image.

    Attributes:
      source_id: id of the image.
      size: height and width of the image.
      has_instance: whether each window has an instance.
      num_never: number of objects of which every window shows too little.
    """

    source_id: str
    size: tuple[int, int]
    has_instance: tuple[bool, ...]
    num_never: int


@dataclasses.dataclass(frozen=True)
class Task:
    """What one call of a worker converts.

    Attributes:
      item: the image.
      path: path of the image, for messages; empty if it is not known.
      numbers: numbers of the windows in the grid of the image; None for the whole image.
      is_first: whether it is the first task of the image.
    """

    item: Any
    path: str
    numbers: tuple[int, ...] | None = None
    is_first: bool = True


@dataclasses.dataclass(frozen=True)
class Plans:
    """The windows of a data set.

    Attributes:
      tasks: what is converted, in order.
      num_records: number of images and windows that are written if every image can be read.
      num_images: number of images that are cut.
      num_empty: number of windows without instances that are written.
      num_left_out: number of windows without instances that are not.
      num_never: number of objects of which every window shows too little.
    """

    tasks: list[Task]
    num_records: int
    num_images: int
    num_empty: int
    num_left_out: int
    num_never: int


def plan(items: Sequence[Any], reader: Reader, rules: TileRules, num_workers: int) -> Plans:
    """Decides which windows are written.

    Of the windows without instances, those with the smallest digests of their names are written, as many as `empty_share` allows.
    The choice is therefore random, and the same on every computer and for every order of the images.

    Args:
      items: the images.
      reader: reads them.
      rules: how they are cut.
      num_workers: number of processes.
    """
    read = functools.partial(_plan_image, reader=reader, rules=rules)
    plans: list[Plan | None] = [None] * len(items)
    if rules.size:
        plans = list(parallel.map_in_processes(read, items, min(num_workers, len(items))))
    cut = [(place, one) for place, one in enumerate(plans) if one is not None]
    empty = [(place, number) for place, one in cut for number, has in enumerate(one.has_instance) if not has]
    num_filled = sum(sum(one.has_instance) for _, one in cut)
    limit = _most_empty(num_filled, rules.empty_share)
    order = {(place, number): digest for place, one in cut for number, digest in enumerate(_digests(one, rules))}
    kept = set(sorted(empty, key=order.__getitem__)[:limit])
    tasks: list[Task] = []
    for place, (item, one) in enumerate(zip(items, plans, strict=True)):
        path = str(getattr(item, "path", "") or getattr(item, "image", ""))
        if one is None:
            tasks.append(Task(item, path))
            continue
        numbers = [number for number, has in enumerate(one.has_instance) if has or (place, number) in kept]
        tasks += split_tasks(item, path, numbers, rules)
    return Plans(
        tasks,
        num_records=len(plans) - len(cut) + num_filled + len(kept),
        num_images=len(cut),
        num_empty=len(kept),
        num_left_out=len(empty) - len(kept),
        num_never=sum(one.num_never for _, one in cut),
    )


def split_tasks(item: Any, path: str, numbers: Sequence[int], rules: TileRules) -> list[Task]:
    """Divides the windows of an image into tasks of limited size; at least one, also without windows."""
    step = max(1, _PIXELS_PER_TASK // rules.size**2)
    starts = range(0, max(len(numbers), 1), step)
    return [Task(item, path, tuple(numbers[start : start + step]), start == 0) for start in starts]


def _most_empty(num_filled: int, share: float) -> int | None:
    """Returns the largest number E of empty windows with E / (E + num_filled) <= share; None for any number."""
    # Rounding errors must not decide about a whole number.
    return None if share >= 1 else math.floor(share / (1 - share) * num_filled + 1e-9)


def _digests(one: Plan, rules: TileRules) -> list[bytes]:
    """Returns the digests of the names of an image's windows."""
    names = [window_id(one.source_id, window.top, window.left) for window in rules.grid(one.size)]
    return [hashlib.sha256(name.encode(errors="surrogatepass")).digest() for name in names]


def _plan_image(item: Any, reader: Reader, rules: TileRules) -> Plan | None:
    """Returns the windows of an image; None if it is not cut, or cannot be read, which `Reader.convert` reports."""
    try:
        size = reader.size_of(item)
        if not rules.cuts(size):
            return None
        annotated, _ = reader.annotations_of(item)
    except ValueError:
        return None
    outlines = _Outlines(annotated, size, [])
    has_instance, never = [], {number for number, outline in enumerate(outlines.found) if not outline.is_crowd}
    for window in rules.grid(size):
        parts = outlines.parts_in(window)
        shown = {number for number, part in parts.items() if not cutting.is_ignored(part, rules.min_visible)}
        has_instance.append(bool(shown))
        never -= shown
    return Plan(annotated.source_id, size, tuple(has_instance), len(never))


class _Outlines:
    """The annotations of an image that have pixels.

    Attributes:
      found: the annotations, after all checks.
    """

    def __init__(self, annotated: AnnotatedImage, size: tuple[int, int], findings: list[Finding]) -> None:
        """Checks the annotations of an image of this height and width, and adds findings."""
        self.found: list[Outline] = []
        for annotation in annotated.annotations:
            said: list[tuple[str, str]] = []
            outline = objects.outline(annotation, size, said)
            findings += [Finding(kind, f"{objects.name_of(annotated)}, {annotation.name}: {what}") for kind, what in said]
            self.found += [outline] if outline else []
        self._around = [mask_windows.bounding_window(outline.runs) for outline in self.found]
        self._boxes = np.array(self._around, np.int64).reshape(-1, 4)

    def parts_in(self, window: Window) -> dict[int, Visible]:
        """Returns the visible parts of the objects in a window, by the number of the object."""
        boxes = self._boxes
        near = (boxes[:, :2] < window[2:]).all(1) & (boxes[:, 2:] > window[:2]).all(1)
        numbers = np.flatnonzero(near).tolist()
        parts = {number: cutting.find_visible(self.found[number], self._around[number], window) for number in numbers}
        return {number: part for number, part in parts.items() if part is not None}


def convert(task: Task, reader: Reader, rules: TileRules) -> list[Converted]:
    """Converts an image or some of its windows.

    Raises:
      ValueError: the image cannot be read, or has another size than its annotations, and the reader refuses this.
    """
    if task.numbers is None:
        return [reader.convert(task.item)]
    annotated, findings = reader.annotations_of(task.item)
    size = reader.size_of(task.item)
    image, fault = _open(annotated, size, reader)
    if image is None:
        return [Converted(None, [*findings, *fault] if task.is_first else [])]
    facts, of_exif = image.facts, objects.exif_findings(image.facts, reader.options.exif)
    findings += [Finding(kind, f"{objects.name_of(annotated)}: {said}") for kind, said in of_exif]
    outlines = _Outlines(annotated, size, findings)
    parts = [_convert_window(annotated, image, outlines, rules.grid(size)[number], rules) for number in task.numbers]
    if not task.is_first:
        return parts
    first = parts[0] if parts else Converted(None, [])
    counts = dataclasses.replace(
        first.tile or TileCounts(),
        num_annotations=len(outlines.found),
        num_crowds=sum(outline.is_crowd for outline in outlines.found),
        is_first=True,
    )
    num_ignored = sum(outline.is_crowd and not outline.annotation.is_crowd for outline in outlines.found)
    first = dataclasses.replace(
        first, findings=findings, reencoded=facts.reencoded, wide=facts.wide, num_ignored=num_ignored, tile=counts
    )
    return [first, *parts[1:]]


def _open(
    annotated: AnnotatedImage, size: tuple[int, int], reader: Reader
) -> tuple[image_windows.OpenedImage | None, list[Finding]]:
    """Opens an image; if it cannot be read, or has another size, returns the findings."""
    options = reader.options
    try:
        image = image_windows.open_image(annotated.path, options.exif, size, options.pixel_range, options.num_channels)
    except WrongChannelsError:
        raise
    except ValueError as error:
        if reader.refuses_unreadable:
            raise
        return None, [Finding("image_unreadable", f"{objects.name_of(annotated)}: {error}")]
    if image.size == size:
        return image, []
    finding = objects.size_finding(dataclasses.replace(annotated, size=size), image.facts)
    if reader.refuses_unreadable:
        raise ValueError(finding.where)
    return None, [finding]


def _convert_window(
    annotated: AnnotatedImage,
    image: image_windows.OpenedImage,
    outlines: _Outlines,
    window: Window,
    rules: TileRules,
) -> Converted:
    parts = list(outlines.parts_in(window).values())
    instances = [cutting.draw(part, rules.min_visible) for part in parts]
    ignored = [cutting.is_ignored(part, rules.min_visible) for part in parts]
    counts = TileCounts(
        num_cut=sum(part.is_cut and not ignore for part, ignore in zip(parts, ignored, strict=True)),
        num_ignored=sum(ignore and not part.outline.is_crowd for part, ignore in zip(parts, ignored, strict=True)),
    )
    encoded = image.encode(window)
    name = window_id(annotated.source_id, window.top, window.left)
    origin = Origin(annotated.source_id, window.top, window.left, *image.size)
    made = objects.example(encoded, name, annotated.filename, instances, origin=origin)
    return Converted(made, [], channels=encoded.channels, tile=counts)


def convert_all(plans: Plans, reader: Reader, rules: TileRules, num_workers: int) -> Iterator[Converted]:
    """Yields the images and windows of a data set, in order."""
    convert_task = functools.partial(convert, reader=reader, rules=rules)
    for some in parallel.map_in_processes(convert_task, plans.tasks, min(num_workers, max(len(plans.tasks), 1))):
        yield from some
