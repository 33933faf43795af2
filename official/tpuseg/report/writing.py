"""Writing a report: the page, and the table of the labels to check beside it."""

import os
from typing import Any

from tpuseg.io import files
from tpuseg.report import labels_csv, page
from tpuseg.report.content import Report

# File of the score thresholds with the best F1.
SCORE_THRESHOLDS = "score_thresholds.json"


def write(report: Report, folder: str) -> str:
    """Writes the files of a report.

    Args:
      report: the content. Relative URLs in it refer to `folder`.
      folder: folder of the report, which is created if it does not exist.

    Returns:
      The path of the page.

    Raises:
      ValueError: the report contradicts itself.
      OSError: a file cannot be written.
    """
    labels_csv.write(os.path.join(folder, labels_csv.FILE), report.labels_to_check)
    return page.write(report, folder)


def write_thresholds(folder: str, thresholds: dict[str, Any]) -> None:
    """Writes the score thresholds with the best F1, which prediction can use.

    Args:
      folder: folder of the report.
      thresholds: `overall`, and `by_class` by the names of the classes.
    """
    files.write_json(os.path.join(folder, SCORE_THRESHOLDS), thresholds)
