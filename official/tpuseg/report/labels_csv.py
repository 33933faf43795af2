"""The file with the labels to check."""

import csv
import io
from collections.abc import Sequence

from tpuseg.io import files
from tpuseg.report.content import LabelToCheck

FILE = "labels_to_check.csv"
_COLUMNS = ("image", "annotation_id", "type", "score", "image_id", "text", "y0", "x0", "y1", "x1")
# A spreadsheet would compute a cell that begins with one of these.
_FORMULAS = ("=", "+", "-", "@")


def to_csv(labels: Sequence[LabelToCheck]) -> str:
    """Returns the labels to check as a table with comma-separated values: a line for each, in their order, after a line of titles.

    Args:
      labels: the labels to check.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for label in labels:
        box = ["" if value is None else f"{value:.1f}" for value in label.box or [None] * 4]
        texts = [_escape(text) for text in (label.name, label.annotation_id, label.kind)]
        writer.writerow([*texts, f"{label.score:.4f}", _escape(label.image_id), _escape(label.text), *box])
    return output.getvalue()


def _escape(text: str) -> str:
    """Returns a text in one line that spreadsheets do not take for a formula; a whole number stays as it is."""
    is_number = text.removeprefix("-").isdigit()
    text = text if text.isprintable() else repr(text)[1:-1]
    return f"'{text}" if text.startswith(_FORMULAS) and not is_number else text


def write(path: str, labels: Sequence[LabelToCheck]) -> None:
    """Writes the labels to check atomically.

    Args:
      path: path of the file.
      labels: the labels to check.

    Raises:
      OSError: the file cannot be written.
    """
    files.write_text(path, to_csv(labels))
