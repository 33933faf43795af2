"""Matches of one image from a matrix of IoUs, for the tests of the report."""

import numpy as np

from tpuseg.report import matching


def matches(overlaps, labels, scores, object_labels, num_classes, in_ignored=None):
    """All in one image, as `matching.match` returns it."""
    overlaps = np.array(overlaps, float).reshape(len(labels), len(object_labels))
    labels, object_labels = np.array(labels, int), np.array(object_labels, int)
    in_ignored = np.zeros(len(labels), bool) if in_ignored is None else np.array(in_ignored)
    found = matching.match_image(overlaps, labels, object_labels, in_ignored)
    zeros, boxes = np.zeros(len(labels), int), np.zeros((len(labels), 4))
    detections = matching.Detections(zeros, np.arange(len(labels)), labels, np.array(scores), boxes, zeros, *found[:4])
    zeros, boxes = np.zeros(len(object_labels), int), np.zeros((len(object_labels), 4))
    objects = matching.Objects(zeros, np.arange(len(zeros)), object_labels, boxes, boxes, zeros, *found[4:])
    return matching.Matches(detections, objects, np.array([[10, 10]]), num_classes)
