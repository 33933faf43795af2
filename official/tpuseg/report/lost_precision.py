"""The average precision that each type of error costs (TIDE, arXiv:2008.08115, section 2.3).

The cost of a type is the AP50 after correcting all errors of this type and no other ones, minus the AP50. A classification or
localization error whose object no other detection takes becomes right, only the one with the highest score for each object; all
other errors of the type are removed. Missed objects are removed from the objects.
"""

import numpy as np

from tpuseg.report import matching
from tpuseg.report.average_precision import mean_average_precision
from tpuseg.report.content import ERRORS
from tpuseg.report.matching import Matches

SPECIAL_ERRORS = ("false positives", "false negatives")


def average_precision(matches: Matches) -> float:
    """Returns the AP50 of masks, 0 to 1."""
    found = matches.detections
    kept = ~found.ignored
    return mean_average_precision(found.label[kept], found.score[kept], found.right[kept], _count(matches, matches.objects.label))


def lost_by_type(matches: Matches) -> dict[str, float]:
    """Returns the AP50 that each of `ERRORS` and of `SPECIAL_ERRORS` costs, 0 to 1.

    False positives: all wrong detections get the lowest score. False negatives: the objects that no detection takes are removed.
    """
    base = average_precision(matches)
    lost = {name: max(_correct(matches, number) - base, 0.0) for number, name in enumerate(ERRORS)}
    found, objects = matches.detections, matches.objects
    kept = ~found.ignored
    labels, right = found.label[kept], found.right[kept]
    perfect = mean_average_precision(labels, right.astype(float), right, _count(matches, objects.label))
    complete = mean_average_precision(labels, found.score[kept], right, _count(matches, objects.label[objects.taker >= 0]))
    return {**lost, **dict(zip(SPECIAL_ERRORS, (perfect - base, complete - base), strict=True))}


def _correct(matches: Matches, error: int) -> float:
    """Returns the AP50 after the errors of one type are corrected."""
    found, objects = matches.detections, matches.objects
    if error == ERRORS.index("missed"):
        kept = ~found.ignored
        remaining = _count(matches, objects.label[~objects.missed])
        return mean_average_precision(found.label[kept], found.score[kept], found.right[kept], remaining)
    corrected = found.error == error
    # As in TIDE's implementation, a detection in an ignored region counts once its error is corrected.
    kept = np.where(corrected, found.repairs, ~found.ignored)
    labels = found.label.copy()
    if error == matching.CLASSIFICATION:
        labels[corrected & kept] = objects.label[found.partner[corrected & kept]]
    right = found.right | corrected
    return mean_average_precision(labels[kept], found.score[kept], right[kept], _count(matches, objects.label))


def _count(matches: Matches, labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels, minlength=matches.num_classes)
