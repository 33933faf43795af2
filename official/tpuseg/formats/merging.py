"""Merging the categories of the files of a data set, for example one for each split; equal names are the same category."""

import dataclasses
from collections.abc import Sequence

from tpuseg.convert.objects import Annotation
from tpuseg.data.examples import Category


@dataclasses.dataclass(frozen=True)
class Merged:
    """The categories of several files.

    Attributes:
      categories: categories of all files, ordered by id.
      places: for each file, the index in `categories` of each of its own categories.
      note: a note for the user if ids were changed; empty if the files agree.
    """

    categories: tuple[Category, ...]
    places: tuple[tuple[int, ...], ...]
    note: str = ""


def merge_categories(files: Sequence[tuple[str, Sequence[Category]]]) -> Merged:
    """Merges the categories of several files by their names.

    Ids are kept, unless two files have different ids for the same name or different names for the same id; then all categories get
    new ids from 1, in the order of the first file.

    Args:
      files: name and categories of each file.
    """
    names = list(dict.fromkeys(category.name for _, categories in files for category in categories))
    given = {(category.id, category.name) for _, categories in files for category in categories}
    agree = len(given) == len(names) == len({number for number, _ in given})
    ids = {name: number for number, name in given} if agree else {name: place for place, name in enumerate(names, start=1)}
    merged = tuple(sorted((Category(ids[name], name) for name in names), key=lambda category: category.id))
    place_of = {category.name: place for place, category in enumerate(merged)}
    places = tuple(tuple(place_of[category.name] for category in categories) for _, categories in files)
    first, last = files[0][0], files[-1][0]
    note = "" if agree else f"{first} and {last} have different category ids: categories are matched by name and get new ids"
    return Merged(merged, places, note)


def replace_categories(
    annotations: Sequence[Annotation], places: Sequence[int], categories: Sequence[Category]
) -> list[Annotation]:
    """Returns annotations with new categories and class indices.

    Args:
      annotations: annotations of one image.
      places: new index of each category, by its old index.
      categories: all categories of the data set, by their new indices.
    """
    return [
        dataclasses.replace(one, category=categories[places[one.class_index]], class_index=places[one.class_index])
        for one in annotations
    ]
