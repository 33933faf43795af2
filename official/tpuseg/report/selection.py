"""The detections with at least a certain score, and what is wrong if only these are used.

The detections of an image are matched in the order of decreasing scores, so those with a score of at least a threshold have the
same matches without the others. Only the objects change: one that is taken by another detection is not found.
"""

import dataclasses

import numpy as np

from tpuseg.report import matching
from tpuseg.report.content import ERRORS
from tpuseg.report.matching import Matches


@dataclasses.dataclass(frozen=True)
class Selection:
    """The detections with a score of at least a threshold.

    Attributes:
      threshold: the score threshold.
      kept: [D] bool, whether a detection has at least this score and is not ignored.
      found: [N] bool, whether one of these detections takes the object.
      missed: [N] bool, whether the object is neither found nor would be after correcting the class or place of one of them.
    """

    threshold: float
    kept: np.ndarray
    found: np.ndarray
    missed: np.ndarray


def select(matches: Matches, threshold: float) -> Selection:
    """Selects the detections with a score of at least a threshold."""
    found, objects = matches.detections, matches.objects
    kept = (found.score >= threshold) & ~found.ignored
    taken = np.zeros(len(objects.label), bool)
    taken[found.partner[kept & found.right]] = True
    missed = ~taken
    near = kept & np.isin(found.error, (matching.CLASSIFICATION, matching.LOCALIZATION))
    missed[found.partner[near]] = False
    return Selection(threshold, kept, taken, missed)


def count_errors(matches: Matches, selection: Selection) -> dict[str, int]:
    """Returns the number of errors of each type in `ERRORS`."""
    errors = matches.detections.error[selection.kept & ~matches.detections.right]
    counts = dict(zip(ERRORS, np.bincount(errors, minlength=len(ERRORS)).tolist(), strict=True))
    return {**counts, "missed": int(selection.missed.sum())}


def confusion(matches: Matches, selection: Selection) -> np.ndarray:
    """Returns the confusion matrix with background, [K + 1, K + 1] int64; rows are true classes, columns predicted classes.

    An object that is not found counts in the column of the detection with the highest score that is on it with another class, and
    otherwise in the last column. All other wrong detections count in the last row.
    """
    found, objects, size = matches.detections, matches.objects, matches.num_classes + 1
    label = np.where(selection.found, objects.label, size - 1)
    confused = selection.kept & (found.error == matching.CLASSIFICATION)
    confused[confused] = ~selection.found[found.partner[confused]]
    # In the order of increasing scores, so that the highest one is the last and stays.
    order = np.flatnonzero(confused)
    order = order[np.argsort(found.score[order], kind="stable")]
    label[found.partner[order]] = found.label[order]
    winner = np.full(len(label), -1)
    winner[found.partner[order]] = order
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (objects.label, label), 1)
    rest = selection.kept & ~found.right
    rest[winner[winner >= 0]] = False
    np.add.at(counts[-1], found.label[rest], 1)
    return counts
