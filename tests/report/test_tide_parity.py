"""The AP that errors cost, compared with tidecv, which TIDE's authors have written, on generated detections."""

import dataclasses

import numpy as np
import pytest

from tpuseg.ops import masks
from tpuseg.report import lost_precision, matching
from tpuseg.report.content import ERRORS

pytestmark = pytest.mark.parity

SIZE = (120, 160)
CATEGORIES = [1, 2, 3, 4]


@dataclasses.dataclass(frozen=True)
class Truth:
    source_id: str
    height: int
    width: int
    annotations: list


def to_rows(boxes, categories, random):
    y, x = np.meshgrid(*[(np.arange(28) + 0.5) / 14 - 1] * 2, indexing="ij")
    noise = 0.5 * random.normal(size=(len(boxes), 28, 28))
    probabilities = 1 / (1 + np.exp(-8 * (0.9 - np.hypot(y, x)[np.newaxis]) + noise))
    pasted = masks.paste(probabilities, boxes, SIZE)
    rows = zip(boxes.tolist(), categories.tolist(), pasted.runs, pasted.areas.tolist(), strict=True)
    return [
        {"category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, "segmentation": runs, "iscrowd": 0}
        for (y0, x0, y1, x1), category, runs, area in rows
    ]


def generate(seed):
    """Objects, ignored regions and detections near them and elsewhere, in images of which some have none of these."""
    random = np.random.default_rng(seed)
    truths, detections = [], {}
    for index in range(80):
        count = int(random.integers(0, 7))
        sides = np.exp(random.uniform(np.log(8), np.log(80), (count, 2)))
        centres = random.uniform(0.1, 0.9, (count, 2)) * SIZE
        boxes = np.clip(np.concatenate([centres - sides / 2, centres + sides / 2], 1), 0, np.tile(SIZE, 2))
        rows = to_rows(boxes, random.choice(CATEGORIES, count), random)
        rows = [{**row, "iscrowd": int(random.uniform() < 0.15)} for row in rows]
        truths.append(Truth(str(index), *SIZE, rows))
        near = random.integers(0, count, 25) if count else np.zeros(0, int)
        moved = boxes[near] + random.normal(0, 0.12, (len(near), 4)) * np.tile(boxes[near, 2:] - boxes[near, :2], 2)
        far = np.sort(random.uniform(0, 120, (6, 2, 2)), axis=1).reshape(-1, 4)
        known = np.array([row["category_id"] for row in rows], int)[near]
        categories = np.concatenate([np.where(random.uniform(size=len(near)) < 0.7, known, random.choice(CATEGORIES, len(near))),
                                     random.choice(CATEGORIES, 6)])  # fmt: skip
        if random.uniform() < 0.9:
            found = to_rows(np.clip(np.concatenate([moved, far]), 0, np.tile(SIZE, 2)), categories, random)
            detections[index] = [{**row, "score": float(random.uniform())} for row in found]
    return truths, detections


def reference(truths, detections):
    tidecv = pytest.importorskip("tidecv", reason="tidecv is not installed")
    objects, found = tidecv.Data("truth"), tidecv.Data("detections")
    for index, truth in enumerate(truths):
        objects.add_image(index, truth.source_id)  # Otherwise an image without objects is left out.
        for row in truth.annotations:
            add = objects.add_ignore_region if row["iscrowd"] else objects.add_ground_truth
            add(index, row["category_id"], row["bbox"], row["segmentation"])
        for row in detections.get(index, []):
            found.add_detection(index, row["category_id"], row["score"], row["bbox"], row["segmentation"])
    run = tidecv.TIDE().evaluate(objects, found, mode=tidecv.TIDE.MASK)
    lost = {**run.fix_main_errors(), **run.fix_special_errors()}
    counts = {kind.short_name: count for kind, count in run.count_errors().items()}
    return run.ap / 100, {kind.short_name: value / 100 for kind, value in lost.items()}, counts


NAMES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg")


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_those_of_tidecv(seed):
    truths, detections = generate(seed)
    ap, lost, counts = reference(truths, detections)
    matches = matching.match(truths, detections, CATEGORIES, max_detections=100)
    ours = lost_precision.lost_by_type(matches)
    assert lost_precision.average_precision(matches) == pytest.approx(ap, abs=1e-6)
    names = dict(zip(NAMES, [*ERRORS, *lost_precision.SPECIAL_ERRORS], strict=True))
    assert {name: ours[names[name]] for name in lost} == pytest.approx(lost, abs=1e-6)
    errors = matches.detections.error
    numbers = np.bincount(errors[errors >= 0], minlength=len(ERRORS))
    numbers[ERRORS.index("missed")] = matches.objects.missed.sum()
    assert numbers.tolist() == [counts[name] for name in NAMES[:6]] and (numbers > 0).all()
