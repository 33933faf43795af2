"""Training targets of the network: matching, sampling, and the targets of the losses.

Shapes: B images, A anchors, M ground-truth objects and I ignored objects (both padded), N candidates, R samples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from tpuseg.layers import noise
from tpuseg.layers.scope import with_name_scope
from tpuseg.maskrcnn.config import AnchorSamplerConfig, RoiSamplerConfig, RpnConfig
from tpuseg.ops import boxes as box_ops
from tpuseg.ops.tracing import num_rows

# Number of ignored boxes that are compared with all anchors at once.
_PART = 256


class GroundTruth(NamedTuple):
    """The objects of a batch.

    Attributes:
      boxes: [B, M, 4] float32 boxes in pixels of the canvas.
      classes: [B, M] int32 in 0..K-1; -1 marks padding, which comes after all objects. Ignored regions are not included.
      masks: [B, M, Z, Z] box masks of any numeric type: above 0 up to 1 (or True) on the object, 0 elsewhere.
      crowd_boxes: [B, G, 4] boxes of ignored regions; padding is 0. G may be 0.
      seeds: [B, 2] int32 seed of each image, which alone determines its random samples. If it depends only on the position of the
        image in the stream, a resumed run, or one on other replicas, draws the same samples.
      ignored_boxes: [B, I, 4] boxes of the objects beyond `max_instances`, which are neither foreground nor background. Padding
        is 0; None if there are no such objects.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    masks: tf.Tensor
    crowd_boxes: tf.Tensor
    seeds: tf.Tensor
    ignored_boxes: tf.Tensor | None = None

    @property
    def valid(self) -> tf.Tensor:
        """[B, M] bool: false for padding."""
        return self.classes >= 0


class Samples(NamedTuple):
    """A random choice of labelled candidates, foreground first.

    Attributes:
      rows: [B, R] int32 row of each sample in the candidates.
      foreground: [B, R] bool.
      valid: [B, R] bool; false if there were not enough candidates.
    """

    rows: tf.Tensor
    foreground: tf.Tensor
    valid: tf.Tensor


class AnchorTargets(NamedTuple):
    """Targets of the RPN.

    Attributes:
      samples: the sampled anchors, as rows of all anchors.
      deltas: [B, R, 4] encoded boxes of the matched objects; only meaningful for foreground samples.
    """

    samples: Samples
    deltas: tf.Tensor


class RoiTargets(NamedTuple):
    """Targets of the heads; foreground rois come first.

    Attributes:
      rois: [B, R, 4] boxes in pixels of the canvas.
      classes: [B, R] int32 class of the matched object; K for background.
      matches: [B, R] int32 row of the matched object; only meaningful for foreground rois.
      boxes: [B, R, 4] boxes of the matched objects.
      foreground: [B, R] bool.
      valid: [B, R] bool; false for padding.
    """

    rois: tf.Tensor
    classes: tf.Tensor
    matches: tf.Tensor
    boxes: tf.Tensor
    foreground: tf.Tensor
    valid: tf.Tensor


def random_priorities(seeds: tf.Tensor, num: int, salt: int) -> tf.Tensor:
    """Returns random numbers as a function of the seed of each image, [B, num] float32 in 0..1.

    Args:
      seeds: [B, 2] int32.
      num: number of values per image.
      salt: gives different numbers for different purposes with the same seed.
    """
    first, second = tf.unstack(tf.cast(seeds, tf.uint32), axis=1)
    return noise.uniform(tf.range(num)[None], noise.key_of(first + tf.constant(salt, tf.uint32), second)[:, None])


def sample(labels: tf.Tensor, priorities: tf.Tensor, num_samples: int, foreground_fraction: float) -> Samples:
    """Samples candidates: at most a given fraction from the foreground, and the rest from the background.

    Args:
      labels: [B, N] int32: 1 foreground, 0 background, -1 ignored.
      priorities: [B, N] float32 in 0..1; the candidates with the highest priorities are chosen.
      num_samples: R.
      foreground_fraction: the maximum number of foreground samples is this fraction of R.

    Returns:
      Foreground samples first, then background, then padding that is not valid.
    """
    size = labels.shape[1]
    most_foreground = min(int(num_samples * foreground_fraction), size)
    most_background = min(num_samples, size)
    score, foreground_rows = tf.math.top_k(tf.where(labels == 1, priorities, -1.0), most_foreground)
    num_foreground = tf.reduce_sum(tf.cast(score >= 0, tf.int32), axis=1, keepdims=True)
    score, background_rows = tf.math.top_k(tf.where(labels == 0, priorities, -1.0), most_background)
    num_background = tf.reduce_sum(tf.cast(score >= 0, tf.int32), axis=1, keepdims=True)

    place = tf.range(num_samples)[None]
    foreground = place < num_foreground
    valid = place < num_foreground + num_background
    rows = tf.concat([foreground_rows, background_rows], axis=1)
    picked = tf.where(foreground, place, place - num_foreground + most_foreground)
    picked = tf.clip_by_value(picked, 0, rows.shape[1] - 1)
    return Samples(tf.where(valid, tf.gather(rows, picked, batch_dims=1), 0), foreground, valid)


def _overlap_with_objects(truth: GroundTruth, candidates: tf.Tensor) -> tf.Tensor:
    """Returns the IoU of objects and candidates, [B, m, N], -1 for padding; without XLA m excludes rows that are always padding.

    Candidates are the last axis, because there are many, which fills the lanes of a TPU.
    """
    used = num_rows(truth.valid)
    overlaps = box_ops.iou(truth.boxes[:, :used], candidates)
    return tf.where(truth.valid[:, :used, None], overlaps, -1.0)


def _is_covered(regions: tf.Tensor, candidates: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns whether a region, [B, n, 4], covers at least the fraction `threshold` of a candidate, [B, N] bool."""
    shared = box_ops.intersections(regions, candidates)
    covered = tf.math.divide_no_nan(shared, box_ops.areas(candidates)[:, None])
    # Without regions the maximum is minus infinity.
    return tf.reduce_max(covered, axis=1) >= threshold


def _in_ignored(truth: GroundTruth, candidates: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns whether an ignored region or object covers at least the fraction `threshold` of a candidate, [B, N] bool."""
    covered = _is_covered(truth.crowd_boxes, candidates, threshold)
    if truth.ignored_boxes is not None:
        for boxes in _parts(truth.ignored_boxes):
            covered |= _is_covered(boxes, candidates, threshold)
    return covered


def _parts(boxes: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields [B, n, 4] parts of ignored boxes; there can be thousands, whose IoU with all anchors would not fit into memory."""
    num_boxes = int(boxes.shape[1])
    used = boxes[:, : num_rows(box_ops.areas(boxes) > 0)]
    for start in range(0, num_boxes, _PART):
        yield used[:, start : start + _PART]


def _near_ignored(ignored_boxes: tf.Tensor, anchors: tf.Tensor, config: AnchorSamplerConfig) -> tf.Tensor:
    """Returns which anchors would not be background if the ignored objects were not ignored, [B, A] bool."""
    near = tf.zeros([1, anchors.shape[1]], tf.bool)
    for boxes in _parts(ignored_boxes):
        overlaps = box_ops.iou(boxes, anchors)
        of_object = tf.reduce_max(overlaps, axis=2, keepdims=True)
        is_best = (overlaps >= of_object * (1 - 1e-6)) & (of_object > 0)
        near |= tf.reduce_any(is_best | (overlaps >= config.background_iou), axis=1)
        near |= _is_covered(boxes, anchors, config.foreground_iou)
    return near


def label_anchors(anchors: tf.Tensor, truth: GroundTruth, image_sizes: tf.Tensor, config: AnchorSamplerConfig) -> tf.Tensor:
    """Labels anchors for the RPN (arXiv:1506.01497, section 3.1.2).

    An anchor is foreground if its IoU with an object is at least `foreground_iou`, or if it has the largest IoU of all anchors with
    some object (several can be equal). It is background if its IoU with every object is below `background_iou`. Background anchors
    are ignored if an ignored region covers the fraction `foreground_iou` of them, or if they would not be background without
    ignoring the objects beyond `max_instances`. Any anchor that reaches too far out of the image (`boundary`) is ignored.

    Args:
      anchors: [A, 4] boxes in pixels of the canvas.
      truth: the objects.
      image_sizes: [B, 2] height and width of the images on the canvas.
      config: thresholds.

    Returns:
      [B, A] int32: 1 foreground, 0 background, -1 ignored.
    """
    overlaps = _overlap_with_objects(truth, anchors[None])
    best = tf.reduce_max(overlaps, axis=1)
    of_object = tf.reduce_max(overlaps, axis=2, keepdims=True)
    # A compiler may compute an IoU twice with different rounding, so the comparison has a tolerance.
    is_best = tf.reduce_any((overlaps >= of_object * (1 - 1e-6)) & (of_object > 0), axis=1)

    labels = tf.where(best < config.background_iou, 0, -1)
    labels = tf.where(_is_covered(truth.crowd_boxes, anchors[None], config.foreground_iou), -1, labels)
    if truth.ignored_boxes is not None:
        labels = tf.where(_near_ignored(truth.ignored_boxes, anchors[None], config), -1, labels)
    labels = tf.where((best >= config.foreground_iou) | is_best, 1, labels)
    if config.boundary >= 0:
        limits = tf.cast(image_sizes, tf.float32)[:, None] + config.boundary
        inside = tf.reduce_all(anchors[None, :, :2] >= -config.boundary, axis=-1)
        inside &= tf.reduce_all(anchors[None, :, 2:] <= limits, axis=-1)
        labels = tf.where(inside, labels, -1)
    return labels


@with_name_scope
def anchor_targets(anchors: tf.Tensor, truth: GroundTruth, image_sizes: tf.Tensor, config: RpnConfig) -> AnchorTargets:
    """Samples anchors for training the RPN, and computes their targets.

    Args:
      anchors: [A, 4] anchors of all levels, in pixels of the canvas.
      truth: the objects.
      image_sizes: [B, 2] height and width of the images on the canvas.
      config: thresholds, numbers of samples, weights of the box encoding.
    """
    labels = label_anchors(anchors, truth, image_sizes, config.sampler)
    priorities = random_priorities(truth.seeds, labels.shape[1], salt=1)
    samples = sample(labels, priorities, config.sampler.num_samples, config.sampler.foreground_fraction)
    sampled = tf.gather(anchors, samples.rows)
    # Only the sampled anchors need to be matched to an object.
    matches = tf.argmax(_overlap_with_objects(truth, sampled), axis=1, output_type=tf.int32)
    boxes = tf.gather(truth.boxes, matches, batch_dims=1)
    return AnchorTargets(samples, box_ops.encode(boxes, sampled, config.box_weights))


@with_name_scope
def roi_targets(
    proposals: tf.Tensor, valid: tf.Tensor, truth: GroundTruth, num_classes: int, config: RoiSamplerConfig
) -> RoiTargets:
    """Samples rois for training the heads, and computes their targets (arXiv:1504.08083, section 2.3).

    The ground-truth boxes are added to the proposals, so that there are foreground rois before the RPN is trained. A roi is
    foreground if its largest IoU with an object is at least `foreground_iou`. Otherwise it is background, or ignored if an ignored
    region or object covers this fraction of it.

    Args:
      proposals: [B, N, 4] boxes in pixels of the canvas.
      valid: [B, N] bool, false for padding rows.
      truth: the objects.
      num_classes: K, which is also the class number of the background.
      config: threshold and numbers of samples.
    """
    candidates = tf.stop_gradient(tf.concat([proposals, truth.boxes], axis=1))
    valid = tf.concat([valid, truth.valid], axis=1)
    overlaps = _overlap_with_objects(truth, candidates)
    best = tf.reduce_max(overlaps, axis=1)
    matches = tf.argmax(overlaps, axis=1, output_type=tf.int32)
    is_foreground = best >= config.foreground_iou
    is_ignored = ~valid | (~is_foreground & _in_ignored(truth, candidates, config.foreground_iou))
    labels = tf.where(is_ignored, -1, tf.cast(is_foreground, tf.int32))

    priorities = random_priorities(truth.seeds, labels.shape[1], salt=2)
    samples = sample(labels, priorities, config.num_samples, config.foreground_fraction)
    matches = tf.gather(matches, samples.rows, batch_dims=1)
    classes = tf.gather(truth.classes, matches, batch_dims=1)
    return RoiTargets(
        rois=tf.where(samples.valid[..., None], tf.gather(candidates, samples.rows, batch_dims=1), 0.0),
        classes=tf.where(samples.foreground, classes, num_classes),
        matches=matches,
        boxes=tf.gather(truth.boxes, matches, batch_dims=1),
        foreground=samples.foreground,
        valid=samples.valid,
    )


def _mask_weights(rois: tf.Tensor, boxes: tf.Tensor, axis: int, size: int, mask_size: int) -> tf.Tensor:
    """Returns the weights that interpolate a box mask at the cell centres of a roi, along one axis, [B, R, size, mask_size]."""
    first, last, start, end = rois[..., axis], rois[..., axis + 2], boxes[..., axis], boxes[..., axis + 2]
    places = (tf.range(size, dtype=tf.float32) + 0.5) / size
    positions = first[..., None] + (last - first)[..., None] * places
    side = tf.maximum(end - start, 1e-3)[..., None]
    in_mask = (positions - start[..., None]) / side * mask_size - 0.5
    # Positions are not clamped: outside of the mask the weights decrease to 0 within one cell.
    return tf.maximum(1.0 - tf.abs(in_mask[..., None] - tf.range(mask_size, dtype=tf.float32)), 0.0)


@with_name_scope
def mask_targets(rois: tf.Tensor, matches: tf.Tensor, truth: GroundTruth, size: int) -> tf.Tensor:
    """Crops the masks of the matched objects to the rois.

    The box mask of the object is interpolated at the centres of `size` x `size` cells of the roi, by a matrix product from both
    sides. The target is 1 if the value is at least one half.

    Args:
      rois: [B, R, 4] boxes in pixels of the canvas.
      matches: [B, R] int32 row of the matched object.
      truth: the objects.
      size: side of the predicted masks in cells.

    Returns:
      [B, R, size, size] float32, zeros and ones.
    """
    boxes = tf.gather(truth.boxes, matches, batch_dims=1)
    masks = tf.cast(tf.gather(truth.masks, matches, batch_dims=1), tf.float32)
    y, x = (_mask_weights(rois, boxes, axis, size, masks.shape[-1]) for axis in (0, 1))
    sampled = tf.einsum("bryi,brij,brxj->bryx", y, masks, x)
    # A value of exactly one half must be 1 in spite of the rounding errors of the product.
    return tf.cast(sampled >= 0.5 - 1e-4, tf.float32)
