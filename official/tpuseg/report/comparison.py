"""The content of a comparison of several runs, and the settings in which their configurations differ."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tpuseg.report.bootstrap import Interval
from tpuseg.report.content import Card, Section


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of all runs.

    Attributes:
      name: name of the metric.
      values: value and confidence interval of each run.
      differences: for each run, its value minus that of the first run, with a confidence interval of the difference; None for the
        first run, and for runs that were not evaluated on the same images.
      higher_is_better: whether larger values are better.
    """

    name: str
    values: list[Interval]
    differences: list[Interval | None]
    higher_is_better: bool = True


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting whose value is not the same in all configurations.

    Attributes:
      key: the path of the setting, such as `task.model.input_size`.
      values: its value in each configuration; None where the configuration does not have it.
    """

    key: str
    values: list[Any]


@dataclasses.dataclass(frozen=True)
class ImageDifference:
    """An image whose predictions differ between the runs.

    Attributes:
      image_id: id of the image in the data set.
      difference: largest difference between the qualities of the runs' predictions, from 0 to 1.
      cards: the image with the prediction of each run.
    """

    image_id: str
    difference: float
    cards: list[Card]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison of several runs.

    Attributes:
      title: title of the page.
      kind: "instances" or "semantic".
      class_names: names of the classes.
      runs: names of the runs.
      facts: names and values for the top of the page.
      metrics: the metrics.
      differences: images with the largest differences, the largest first.
      settings: settings that differ.
      sections: further charts and tables.
    """

    title: str
    kind: str
    class_names: list[str]
    runs: list[str]
    facts: list[tuple[str, str]]
    metrics: list[Metric]
    differences: list[ImageDifference]
    settings: list[Setting]
    sections: list[Section]


def compare_configurations(configurations: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """Returns the settings whose values are not the same in all configurations, in the order of their paths.

    Args:
      configurations: nested dictionaries. Lists are values; a list of dictionaries is compared as a whole.
    """
    flat = [dict(_flatten(configuration)) for configuration in configurations]
    paths = sorted({path for settings in flat for path in settings})
    settings = [Setting(path, [values.get(path) for values in flat]) for path in paths]
    return [setting for setting in settings if any(value != setting.values[0] for value in setting.values[1:])]


def _flatten(configuration: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Returns the paths and values of all settings; an empty dictionary is a value."""
    pairs: list[tuple[str, Any]] = []
    for name, value in configuration.items():
        path = f"{prefix}{name}"
        pairs += _flatten(value, f"{path}.") if isinstance(value, Mapping) and value else [(path, value)]
    return pairs


def find_largest_differences(scores: Sequence[Mapping[str, float]], count: int) -> list[tuple[str, float]]:
    """Finds the images on which the runs differ most.

    Args:
      scores: for each run, the quality of its prediction by image id, from 0 to 1. Images that a run does not have are ignored.
      count: number of images at most.

    Returns:
      Image ids and the largest differences between two runs, the largest first; images without a difference are left out, and
      equal differences are in the order of their ids.
    """
    shared = set.intersection(*(set(of_run) for of_run in scores)) if scores else set()
    differences = {image_id: _measure_range([of_run[image_id] for of_run in scores]) for image_id in shared}
    ranked = sorted(differences.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(image_id, difference) for image_id, difference in ranked[:count] if difference > 0]


def _measure_range(values: Sequence[float]) -> float:
    return max(values) - min(values)
