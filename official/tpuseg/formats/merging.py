"""Parts of a data set, one for each split, brought together: categories of the same name are the same."""

import dataclasses
from collections.abc import Sequence

from tpuseg.convert.objects import Annotation
from tpuseg.data.examples import Category


@dataclasses.dataclass(frozen=True)
class Merged:
    """The categories of several files.

    Attributes:
      categories: of all files, ordered by id.
      places: for every file, the place in them of each of its own categories.
      note: what had to be done, for people; empty if the files agree.
    """

    categories: tuple[Category, ...]
    places: tuple[tuple[int, ...], ...]
    note: str = ""


def merge_categories(files: Sequence[tuple[str, Sequence[Category]]]) -> Merged:
    """Brings the categories of several files together by their names.

    Ids stay unless two files give the same name different ids or the same id different names; then all are numbered from 1 on, in
    the order of the first file.

    Args:
      files: name and categories of each.
    """
    names = list(dict.fromkeys(category.name for _, categories in files for category in categories))
    given = {(category.id, category.name) for _, categories in files for category in categories}
    agree = len(given) == len(names) == len({number for number, _ in given})
    ids = {name: number for number, name in given} if agree else {name: place for place, name in enumerate(names, start=1)}
    merged = tuple(sorted((Category(ids[name], name) for name in names), key=lambda category: category.id))
    place_of = {category.name: place for place, category in enumerate(merged)}
    places = tuple(tuple(place_of[category.name] for category in categories) for _, categories in files)
    first, last = files[0][0], files[-1][0]
    note = "" if agree else f"{first} and {last} number their categories differently: they are matched by name, and numbered anew"
    return Merged(merged, places, note)


def moved(annotations: Sequence[Annotation], places: Sequence[int], categories: Sequence[Category]) -> list[Annotation]:
    """Returns annotations with their categories at other places.

    Args:
      annotations: of one image.
      places: new place of every category, by its old one.
      categories: all of the data set, by their new places.
    """
    return [
        dataclasses.replace(one, category=categories[places[one.class_index]], class_index=places[one.class_index])
        for one in annotations
    ]
