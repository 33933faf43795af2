"""JSON files about classes: the converters' summaries beside the records, and the copies in model directories."""

from collections.abc import Callable
from typing import Any

from tpuseg.io import files, image_files
from tpuseg.utils import messages

_AGAIN = "convert this data set again, or move the file away if it is not a converter's summary"
# The check of an entry of a summary: a predicate for its value, and the description of valid values in messages.
_Check = tuple[Callable[[Any], bool], str]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list_of(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_one, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_category(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), int) and _is_text(value.get("name"))


def _is_histogram(value: Any) -> bool:
    return _is_list_of(lambda row: isinstance(row, list) and len(row) == 2 and all(map(_is_count, row)))(value)


def _is_pixel_range(value: Any) -> bool:
    is_number = _is_list_of(lambda number: isinstance(number, int | float) and not isinstance(number, bool))
    return is_number(value) and len(value) == 2 and image_files.is_range(value)


_COUNT: _Check = (_is_count, "a whole number from 0 on")
_NAMES: _Check = (_is_list_of(_is_text), "a list of texts")
_CATEGORIES: _Check = (_is_list_of(_is_category), 'a list like [{"id": 1, "name": "cat"}]')
_REQUIRED: dict[str, _Check] = {
    "num_examples": _COUNT,
    "num_classes": (lambda value: _is_count(value) and value > 0, "a whole number from 1 on"),
    "class_names": _NAMES,
    "shards": _NAMES,
}
_OPTIONAL: dict[str, _Check] = {
    "kind": (_is_text, "text"),
    "split": (_is_text, "text"),
    "ignore_label": _COUNT,
    "num_channels": (lambda value: _is_count(value) and value > 0, "a whole number from 1 on"),
    "pixel_range": (_is_pixel_range, "two numbers, the smaller one first"),
    "examples_per_shard": (_is_list_of(_is_count), "a list of whole numbers from 0 on"),
    "categories": _CATEGORIES,
    "num_objects": _COUNT,
    "num_crowds": _COUNT,
    "most_objects": _COUNT,
    "most_crowds": _COUNT,
    "instances_per_image": (_is_histogram, "a list like [[0, 12], [3, 40]]: instances, and images that have so many"),
}
# Pairs of lists that must have the same length.
_EQUALLY_LONG = (("examples_per_shard", "shards"), ("categories", "class_names"))


def read(path: str) -> dict[str, Any]:
    """Reads a converter's summary.

    Returns:
      The summary; the values of keys in `_REQUIRED` and `_OPTIONAL` have the right types and lengths, other keys are not checked.

    Raises:
      ValueError: the file is not JSON or not a summary; the message names file and key, and says what to do.
      OSError: the file cannot be read; the message names it.
    """
    summary = files.read_json(path)
    if not isinstance(summary, dict):
        raise ValueError(f"{path}: holds {_kind(summary)}, but must be a converter's summary; {_AGAIN}")
    for key, (is_right, description) in {**_REQUIRED, **_OPTIONAL}.items():
        if key in summary and not is_right(summary[key]):
            raise ValueError(f"{path}: `{key}` is {messages.format_value(summary[key])}, but must be {description}; {_AGAIN}")
        if key not in summary and key in _REQUIRED:
            raise ValueError(f"{path}: has no `{key}`; {_AGAIN}")
    names = summary["class_names"]
    if len(names) != summary["num_classes"]:
        raise ValueError(f"{path}: has {len(names)} `class_names`, but `num_classes` is {summary['num_classes']}; {_AGAIN}")
    for key, other in _EQUALLY_LONG:
        if key in summary and len(summary[key]) != len(summary[other]):
            raise ValueError(f"{path}: has {len(summary[key])} `{key}` for {len(summary[other])} `{other}`; {_AGAIN}")
    return summary


def read_class_names(path: str) -> list[str]:
    """Reads the class names from a model directory; raises a ValueError that names the file."""
    return _read_list(path, _NAMES)


def read_categories(path: str) -> list[dict[str, Any]]:
    """Reads the categories from a model directory; raises a ValueError that names the file.

    Returns:
      A dictionary with `id` (an integer) and `name` (a string) for each class.
    """
    return _read_list(path, _CATEGORIES)


def _read_list(path: str, check: _Check) -> list[Any]:
    value = files.read_json(path)
    is_right, description = check
    if not is_right(value):
        raise ValueError(
            f"{path}: holds {_kind(value)}, but must be {description}; copy it from another run on the same data, or remove it to"
            " continue without names"
        )
    return list(value)


def _kind(value: Any) -> str:
    names = {dict: "pairs of keys and values", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
