"""Choosing, ordering, renaming and merging the classes of a data set.

Worker processes import this module, so it does not import TensorFlow.
"""

import collections
import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np

from tpuseg.convert.objects import Annotation
from tpuseg.data.examples import Category
from tpuseg.formats.dataset import (
    IGNORED,
    SEMANTIC,
    Dataset,
    LabelledFile,
    LabelledObjects,
    ObjectSource,
    PixelClasses,
    PixelSource,
)
from tpuseg.formats.drawn import BACKGROUND

# Values of --others: the label of pixels of other classes.
AS_BACKGROUND, AS_IGNORED = "background", "ignore"
_LEFT_OUT = -1
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Options:
    """Options for the classes.

    Attributes:
      classes: names of the chosen classes after renaming, in their new order; if empty, all classes in their original order.
      renamed: pairs of an old and a new name; classes that get the same name are merged.
      others: label of pixels whose class is not chosen, `background` or `ignore`.
    """

    classes: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    others: str = AS_BACKGROUND


def parse_options(classes: Sequence[str], rename: Sequence[str], merge: Sequence[str], others: str = AS_BACKGROUND) -> Options:
    """Creates the options from flags.

    Args:
      classes: names of the chosen classes.
      rename: texts of the form `OLD=NEW`.
      merge: texts of the form `NEW=OLD,OLD,...`.
      others: see `Options`.

    Raises:
      ValueError: a text has another form, or a name is given twice.
    """
    pairs = []
    for text in rename:
        old, equals, new = (part.strip() for part in text.partition("="))
        if not (old and equals and new):
            raise ValueError(f"--rename={text} is not OLD=NEW")
        pairs.append((old, new))
    for text in merge:
        new, _, members = text.partition("=")
        olds = [part.strip() for part in members.split(",")]
        if not new.strip() or not all(olds):
            raise ValueError(f"--merge={text} is not NEW=OLD,OLD")
        pairs += [(old, new.strip()) for old in olds]
    for flag, names in (("--classes", list(classes)), ("--rename and --merge", [old for old, _ in pairs])):
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{flag} {'contain' if ' ' in flag else 'contains'} `{twice[0]}` twice")
    if others not in (AS_BACKGROUND, AS_IGNORED):
        raise ValueError(f"--others={others} must be {AS_BACKGROUND} or {AS_IGNORED}")
    return Options(tuple(classes), tuple(pairs), others)


def choose(dataset: Dataset, options: Options) -> Dataset:
    """Returns a data set with the chosen classes.

    Objects of other classes are left out, but their images are kept. Pixels of other classes become background, which is added as
    class 0 if it does not exist, or are ignored. The ids of categories are kept if the chosen order is that of the ids.

    Raises:
      ValueError: a name is not a class of the data set; the message lists its classes.
    """
    if options == Options():
        return dataset
    renamed = _rename(dataset, options.renamed)
    known = list(dict.fromkeys(renamed))
    chosen = list(options.classes) or known
    for name in chosen:
        if name not in known and not (dataset.kind == SEMANTIC and name == BACKGROUND):
            raise ValueError(f"--classes: `{name}` {_unknown(name, known)}")
    if dataset.kind == SEMANTIC:
        return _choose_pixels(dataset, renamed, chosen, options.others)
    return _choose_objects(dataset, renamed, chosen)


def _rename(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the new names of all categories."""
    names = dataset.class_names
    new = dict(pairs)
    for old in new:
        if old not in names:
            raise ValueError(f"--rename and --merge: `{old}` {_unknown(old, names)}")
    return [new.get(name, name) for name in names]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"is not a class of the data set, which has {', '.join(known[:_SHOWN])}{more}{hint}"


def _choose_objects(dataset: Dataset, renamed: Sequence[str], chosen: Sequence[str]) -> Dataset:
    ids = [dataset.categories[renamed.index(name)].id for name in chosen]
    if any(after <= before for before, after in zip(ids[:-1], ids[1:], strict=True)):
        ids = list(range(1, len(chosen) + 1))
    categories = tuple(Category(*pair) for pair in zip(ids, chosen, strict=True))
    places = tuple(chosen.index(name) if name in chosen else _LEFT_OUT for name in renamed)
    images, lost = [], collections.Counter[str]()
    for image in dataset.images:
        if isinstance(image.labels, LabelledObjects):
            lost.update(renamed[one.class_index] for one in image.labels.annotations if places[one.class_index] == _LEFT_OUT)
            labels: LabelledObjects | ObjectSource = _choose_annotations(image.labels, places, categories)
        else:
            labels = ChosenObjects(_source(image), places, categories)
        images.append(dataclasses.replace(image, labels=labels))
    left = [name for name in dict.fromkeys(renamed) if name not in chosen]
    note = [f"left out with --classes: {', '.join(_describe_lost(name, lost) for name in left[:_SHOWN])}"] if left else []
    num = None if dataset.num_annotations is None else dataset.num_annotations - sum(lost.values())
    return dataclasses.replace(
        dataset, categories=categories, images=tuple(images), num_annotations=num, notes=(*dataset.notes, *note)
    )


def _source(image: LabelledFile) -> ObjectSource:
    if not isinstance(image.labels, ObjectSource):
        raise TypeError(f"{image.name} has classes of pixels, not objects")
    return image.labels


def _describe_lost(name: str, lost: collections.Counter[str]) -> str:
    return f"{name} ({lost[name]} annotations)" if lost[name] else name


def _choose_annotations(given: LabelledObjects, places: Sequence[int], categories: Sequence[Category]) -> LabelledObjects:
    """Returns the objects of the chosen classes with their new categories."""
    annotations: list[Annotation] = []
    for one in given.annotations:
        place = places[one.class_index]
        if place != _LEFT_OUT:
            annotations.append(dataclasses.replace(one, category=categories[place], class_index=place))
    return given._replace(annotations=annotations)


@dataclasses.dataclass(frozen=True)
class ChosenObjects(ObjectSource):
    """The objects of a source that belong to chosen classes.

    Attributes:
      source: source of all objects.
      places: new index of each category of the source; -1 for categories that are left out.
      categories: the chosen categories.
    """

    source: ObjectSource
    places: tuple[int, ...]
    categories: tuple[Category, ...]

    def read(self) -> LabelledObjects:
        """Reads the objects and leaves out those of other classes."""
        return _choose_annotations(self.source.read(), self.places, self.categories)


def _choose_pixels(dataset: Dataset, renamed: Sequence[str], chosen: list[str], others: str) -> Dataset:
    left = [name for name in dict.fromkeys(renamed) if name not in chosen]
    if left and others == AS_BACKGROUND and BACKGROUND not in chosen:
        chosen = [BACKGROUND, *chosen]
    rest = chosen.index(BACKGROUND) if others == AS_BACKGROUND and BACKGROUND in chosen else IGNORED
    table = tuple(chosen.index(name) if name in chosen else rest for name in renamed)
    left = [name for name in left if name not in chosen]
    note = [f"pixels of other classes ({', '.join(left[:_SHOWN])}) are {BACKGROUND if rest >= 0 else 'ignored'}"] if left else []
    images = []
    for image in dataset.images:
        if not isinstance(image.labels, PixelSource):
            raise TypeError(f"{image.name} has objects, not classes of pixels")
        images.append(dataclasses.replace(image, labels=ChosenPixels(image.labels, table)))
    categories = tuple(Category(*pair) for pair in enumerate(chosen))
    return dataclasses.replace(dataset, categories=categories, images=tuple(images), notes=(*dataset.notes, *note))


@dataclasses.dataclass(frozen=True)
class ChosenPixels(PixelSource):
    """The pixels of a source with chosen classes.

    Attributes:
      source: source of the pixels with all classes.
      table: new id of each class of the source.
    """

    source: PixelSource
    table: tuple[int, ...]

    def read(self, size: tuple[int, int]) -> PixelClasses:
        """Reads the pixels and replaces their ids."""
        given = self.source.read(size)
        # The last entry is for ignored pixels, whose id is -1.
        return given._replace(ids=np.array([*self.table, IGNORED], np.int16)[given.ids])
