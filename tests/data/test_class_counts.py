"""Counts of pixels that show that masks mean something else."""

import numpy as np

from tpuseg.data import class_counts


def counts(**values):
    pixels = np.zeros(256, np.int64)
    for value, count in values.items():
        pixels[int(value[1:])] = count
    return pixels


def test_two_classes_of_which_only_one_occurs_beside_the_ignore_label():
    names = ["background", "crack"]
    assert class_counts.contradiction(counts(v0=9, v255=3), names, 255) == (
        "the masks contain only `background` and the ignore label 255, and no pixel is `crack`: 255 seems to be a class"
    )
    assert class_counts.contradiction(counts(v0=9, v1=1, v255=3), names, 255) is None
    assert class_counts.contradiction(counts(v0=9), names, 255) is None
    assert class_counts.contradiction(counts(v0=9, v255=3), ["crack"], 255) is None


def test_masks_without_any_class():
    said = class_counts.contradiction(counts(v255=7), ["a", "b"], 255)
    assert said == "no pixel has a class: all 7 pixels are ignored (value 255)"


def test_classes_without_a_pixel():
    assert class_counts.missing_classes(counts(v0=1, v2=1), ["a", "b", "c"]) == "1 of 3 classes has no pixels: `b`"
    assert class_counts.missing_classes(counts(v0=1, v1=1), ["a", "b"]) is None
    assert class_counts.missing_classes(counts(), list("abcdefghij")).endswith("`g`, `h`, ...")


def test_findings_about_records():
    names = ["background", "crack"]
    faults, warnings = class_counts.findings(counts(v0=9, v255=3), names, 255, {})
    assert len(faults) == 1 and faults[0].endswith("--mask_values=255:ID, or 255:ignore if these pixels are to be ignored")
    assert warnings == []
    meant = class_counts.findings(counts(v0=9, v255=3), names, 255, {"255": 255})
    assert meant == ([], ["1 of 2 classes has no pixels: `crack`"])
    assert class_counts.findings(counts(v0=9, v1=1, v255=3), names, 255, {}) == ([], [])
    assert class_counts.findings(counts(v0=9, v255=3), [], 255, {}) == ([], [])


def test_what_stands_behind_a_figure():
    assert class_counts.coverage(2, []) == ""
    assert class_counts.coverage(2, ["crack"]) == " (1 of 2 classes has ground truth)"
