"""The content of an evaluation report: what the analysis computes and the page shows."""

import dataclasses

# The types of errors (TIDE, arXiv:2008.08115, section 2.2), in the order in which the report shows them.
ERRORS = ("classification", "localization", "both", "duplicate", "background", "missed")


@dataclasses.dataclass(frozen=True)
class Series:
    """A line, a group of bars or a set of points in a chart.

    Attributes:
      name: name for the legend.
      x: positions on the x axis.
      y: values at these positions; None where there is no value.
      note: a sentence about the series.
    """

    name: str
    x: list[float]
    y: list[float | None]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
      key: name of the chart within the report, for links.
      title: title of the chart.
      kind: "line", "bar" or "points".
      x_label: title of the x axis.
      y_label: title of the y axis.
      series: the data.
      x_names: names of the bars; the positions of the series are then indices into it.
      note: a sentence about the chart.
      log_x: whether the x axis is logarithmic.
    """

    key: str
    title: str
    kind: str
    x_label: str
    y_label: str
    series: list[Series]
    x_names: list[str] = dataclasses.field(default_factory=list)
    note: str = ""
    log_x: bool = False


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A matrix of numbers, such as a confusion matrix.

    Attributes:
      key: name of the matrix within the report, for links.
      title: title of the matrix.
      rows: names of the rows.
      columns: names of the columns.
      values: the numbers of each row; None where there is no number.
      row_label: what the rows are.
      column_label: what the columns are.
      note: a sentence about the matrix.
    """

    key: str
    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    row_label: str
    column_label: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      key: name of the table within the report, for links.
      title: title of the table.
      columns: titles of the columns.
      rows: the cells of each row; None is an empty cell.
      note: a sentence about the table.
    """

    key: str
    title: str
    columns: list[str]
    rows: list[list[str | float | int | None]]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
      key: name of the section within the report, for links.
      title: title of the section.
      text: paragraphs before the parts.
      parts: charts, matrices and tables.
    """

    key: str
    title: str
    text: list[str]
    parts: list[Chart | Matrix | Table]


@dataclasses.dataclass(frozen=True)
class Mark:
    """An object in an image: of the ground truth or of the prediction.

    Attributes:
      kind: "truth" or "prediction".
      label: class number.
      box: y0, x0, y1, x1 in pixels of the image.
      outline: polygons, each as x0, y0, x1, y1 ... in pixels of the image; may be empty.
      score: score of a prediction; None for the ground truth.
      error: one of `ERRORS`; empty if the object is right.
      partner: index of the matched mark in the same card.
    """

    kind: str
    label: int
    box: tuple[float, float, float, float]
    outline: list[list[float]]
    score: float | None
    error: str
    partner: int | None = None


@dataclasses.dataclass(frozen=True)
class Card:
    """An image with its ground truth and its prediction.

    Attributes:
      image_id: id of the image in the data set.
      name: name that the page shows.
      size: height and width in pixels.
      image: relative URL of the image for the page.
      score: quality of the prediction in this image, from 0 (worst) to 1.
      marks: the objects; empty for semantic models.
      layers: relative URLs of transparent PNGs of the size of the image, by name: "truth", "prediction", "errors"; only for
        semantic models.
      errors: number of errors by type.
      labels: classes that occur in the ground truth or the prediction.
    """

    image_id: str
    name: str
    size: tuple[int, int]
    image: str
    score: float
    marks: list[Mark]
    layers: dict[str, str]
    errors: dict[str, int]
    labels: list[int]


@dataclasses.dataclass(frozen=True)
class LabelToCheck:
    """A label that is probably wrong.

    Attributes:
      image_id: id of the image in the data set.
      name: name of the image that the page shows.
      annotation_id: the annotation in this image; empty if an annotation is missing.
      kind: what is probably wrong.
      score: how probable it is, from 0 to 1.
      text: a sentence that explains it.
      box: where to look: y0, x0, y1, x1 in pixels of the image.
    """

    image_id: str
    name: str
    annotation_id: str
    kind: str
    score: float
    text: str
    box: tuple[float, float, float, float] | None


@dataclasses.dataclass(frozen=True)
class Advice:
    """A sentence that says what to change.

    Attributes:
      text: the sentence, with its number.
      setting: the setting that it refers to; empty if there is none.
    """

    text: str
    setting: str


@dataclasses.dataclass(frozen=True)
class Report:
    """An evaluation report.

    Attributes:
      title: title of the page.
      kind: "instances" or "semantic".
      class_names: name of each class, by class number.
      facts: pairs of a name and a value that the page shows at its beginning.
      advice: at most five sentences, the most important first.
      sections: the sections of the page.
      cards: the images, worst first.
      labels_to_check: labels that are probably wrong, most probable first.
    """

    title: str
    kind: str
    class_names: list[str]
    facts: list[tuple[str, str]]
    advice: list[Advice]
    sections: list[Section]
    cards: list[Card]
    labels_to_check: list[LabelToCheck]
