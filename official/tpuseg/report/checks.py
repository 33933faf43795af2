"""Checks of reports and comparisons before they are written: every error is one line that names the part and the value."""

import math
from collections.abc import Iterable, Sequence

from tpuseg.report.comparison import Comparison
from tpuseg.report.content import ERRORS, Card, Chart, Mark, Matrix, Report, Section, Table
from tpuseg.utils.messages import format_value

KINDS = ("instances", "semantic")
_CHART_KINDS = ("line", "bar", "points")
_MARK_KINDS = ("truth", "prediction")
_MARK_ERRORS = ("", *ERRORS)
_MOST_CLASSES = 65_536


def check_report(report: Report) -> None:
    """Raises ValueError if the parts of a report contradict each other."""
    _check_shared(report.kind, report.class_names, report.sections)
    _check_unique([card.image_id for card in report.cards], "image_id")
    for card in report.cards:
        _check_card(card, len(report.class_names))


def check_comparison(comparison: Comparison) -> None:
    """Raises ValueError if the parts of a comparison contradict each other."""
    _check_shared(comparison.kind, comparison.class_names, comparison.sections)
    num_runs = len(comparison.runs)
    for metric in comparison.metrics:
        _check_length(f"metric {format_value(metric.name)}: values", metric.values, num_runs, "runs")
        _check_length(f"metric {format_value(metric.name)}: differences", metric.differences, num_runs, "runs")
    for setting in comparison.settings:
        _check_length(f"setting {format_value(setting.key)}: values", setting.values, num_runs, "runs")
    for difference in comparison.differences:
        _check_length(f"image {format_value(difference.image_id)}: cards", difference.cards, num_runs, "runs")
        for card in difference.cards:
            _check_card(card, len(comparison.class_names))


def _check_shared(kind: str, class_names: Sequence[str], sections: Sequence[Section]) -> None:
    _check_choice("kind", kind, KINDS)
    if len(class_names) > _MOST_CLASSES:
        raise ValueError(f"the report has {len(class_names)} classes; {_MOST_CLASSES} is the maximum")
    _check_unique([section.key for section in sections], "key of a section")
    for section in sections:
        _check_unique([part.key for part in section.parts], f"key of a part of section {format_value(section.key)}")
        for part in section.parts:
            _check_part(part)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {format_value(value)}, but must be one of {', '.join(map(repr, choices))}")


def _check_unique(values: Iterable[str], name: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{name} {format_value(value)} occurs twice; it must be unique, because links refer to it")
        seen.add(value)


def _check_length(name: str, values: Sequence[object], expected: int, of: str) -> None:
    if len(values) != expected:
        raise ValueError(f"{name} has {len(values)} elements for {expected} {of}")


def _check_part(part: Chart | Matrix | Table) -> None:
    name = f"{type(part).__name__.lower()} {format_value(part.key)}"
    if isinstance(part, Chart):
        _check_chart(part, name)
    elif isinstance(part, Matrix):
        _check_length(f"{name}: values", part.values, len(part.rows), "rows")
        for values in part.values:
            _check_length(f"{name}: a row", values, len(part.columns), "columns")
    else:
        for cells in part.rows:
            _check_length(f"{name}: a row", cells, len(part.columns), "columns")


def _check_chart(chart: Chart, name: str) -> None:
    _check_choice(f"{name}: kind", chart.kind, _CHART_KINDS)
    for series in chart.series:
        where = f"{name}: series {format_value(series.name)}"
        _check_length(f"{where}: y", series.y, len(series.x), "values of x")
        for value in series.x:
            if not math.isfinite(value) or (chart.log_x and value <= 0):
                raise ValueError(f"{where}: x has the value {value}, which has no place on this axis")
            if chart.x_names and value not in range(len(chart.x_names)):
                raise ValueError(f"{where}: x has the value {value}, but x_names has {len(chart.x_names)} elements")


def _check_card(card: Card, num_classes: int) -> None:
    name = f"image {format_value(card.image_id)}"
    if min(card.size) < 1:
        raise ValueError(f"{name}: size is {card.size}; height and width must be positive")
    if not 0 <= card.score <= 1:
        raise ValueError(f"{name}: score is {card.score}, but must be between 0 and 1")
    if not all(0 <= label < num_classes for label in card.labels):
        raise ValueError(f"{name}: labels is {card.labels}, but the report has {num_classes} classes")
    for number, mark in enumerate(card.marks):
        problem = _describe_problem(mark, num_classes, len(card.marks))
        if problem:
            raise ValueError(f"{name}: mark {number}: {problem}")


def _describe_problem(mark: Mark, num_classes: int, num_marks: int) -> str:
    """Returns what is wrong with an object, or an empty text. There are many objects: nothing is formatted for the right ones."""
    if mark.kind not in _MARK_KINDS:
        return f"kind is {format_value(mark.kind)}, but must be one of {_MARK_KINDS}"
    if mark.error not in _MARK_ERRORS:
        return f"error is {format_value(mark.error)}, but must be one of {_MARK_ERRORS}"
    if not 0 <= mark.label < num_classes:
        return f"label is {mark.label}, but the report has {num_classes} classes"
    if mark.score is not None and not 0 <= mark.score <= 1:
        return f"score is {mark.score}, but must be between 0 and 1"
    if mark.partner is not None and not 0 <= mark.partner < num_marks:
        return f"partner is {mark.partner}, but the image has {num_marks} marks"
    for polygon in mark.outline:
        if len(polygon) % 2:
            return f"a polygon of the outline has {len(polygon)} values; each point needs x and y"
    return ""
