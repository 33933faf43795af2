"""What the network should have said: matching, sampling, and the targets of its losses.

Shapes: B images, A anchors, M true objects and I ignored ones (padded), N candidates, R samples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from tpuseg.layers import noise
from tpuseg.layers.scope import with_name_scope
from tpuseg.maskrcnn.config import AnchorSamplerConfig, RoiSamplerConfig, RpnConfig
from tpuseg.ops import boxes as box_ops
from tpuseg.ops.tracing import num_rows

# Ignored boxes that are compared with all anchors at once.
_PART = 256


class GroundTruth(NamedTuple):
    """The objects of a batch.

    Attributes:
      boxes: [B, M, 4] float32 pixels of the canvas.
      classes: [B, M] int32 in 0..K-1; -1 marks padding, which comes after all objects. Crowds are not among the
        objects.
      masks: [B, M, Z, Z], each in the frame of its box: above 0 up to 1 (or True) on the object, 0 beside it. Any
        number type.
      crowd_boxes: [B, G, 4]: where crowds are; padding is 0. G may be 0.
      seeds: [B, 2] int32, for each image what its random samples depend on, and nothing else: give it the training
        step and the image's place in the global batch, and a run that starts again, or on other replicas, draws the
        same ones.
      ignored_boxes: [B, I, 4] of further objects, each known to be one, for which there was no room: neither foreground nor
        background. Padding is 0; None is no such object.
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
    """A random choice among labelled candidates, those on objects first.

    Attributes:
      rows: [B, R] int32, which candidates.
      foreground: [B, R] bool.
      valid: [B, R] bool; false where there were not enough candidates.
    """

    rows: tf.Tensor
    foreground: tf.Tensor
    valid: tf.Tensor


class AnchorTargets(NamedTuple):
    """What the RPN learns from.

    Attributes:
      samples: rows of all anchors.
      deltas: [B, R, 4] codes of the matched objects; meaningful in the foreground.
    """

    samples: Samples
    deltas: tf.Tensor


class RoiTargets(NamedTuple):
    """What the heads learn from; foreground rois come first.

    Attributes:
      rois: [B, R, 4].
      classes: [B, R] int32; K, the background, where a roi is on no object.
      matches: [B, R] int32 rows of the objects; meaningful in the foreground.
      boxes: [B, R, 4] of the matched objects.
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
    """Returns [B, num] float32 in 0..1, a function of each image's own seed.

    Args:
      seeds: [B, 2] int32.
      num: how many an image.
      salt: sets apart what is drawn from the same seed for different ends.
    """
    first, second = tf.unstack(tf.cast(seeds, tf.uint32), axis=1)
    return noise.uniform(tf.range(num)[None], noise.key_of(first + tf.constant(salt, tf.uint32), second)[:, None])


def sample(labels: tf.Tensor, priorities: tf.Tensor, num_samples: int, foreground_fraction: float) -> Samples:
    """Draws candidates: at most the given share from the foreground, and background to fill up.

    Args:
      labels: [B, N] int32: 1 foreground, 0 background, -1 neither.
      priorities: [B, N] float32 in 0..1; the highest are taken.
      num_samples: R.
      foreground_fraction: of R.

    Returns:
      Foreground first, then background, then rows that are not valid.
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
    """Returns IoU [B, m, N], -1 for padding; outside of XLA m leaves out rows that are padding in all images.

    Candidates come last: there are many, and they fill a TPU's lanes.
    """
    used = num_rows(truth.valid)
    overlaps = box_ops.iou(truth.boxes[:, :used], candidates)
    return tf.where(truth.valid[:, :used, None], overlaps, -1.0)


def _covered(regions: tf.Tensor, candidates: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns [B, N] bool: whether one of the regions, [B, n, 4], covers at least this share of a candidate."""
    shared = box_ops.intersections(regions, candidates)
    covered = tf.math.divide_no_nan(shared, box_ops.areas(candidates)[:, None])
    # With no region at all the maximum over nothing is minus infinity.
    return tf.reduce_max(covered, axis=1) >= threshold


def _in_ignored(truth: GroundTruth, candidates: tf.Tensor, threshold: float) -> tf.Tensor:
    """Returns [B, N] bool: whether a crowd, or an object that is ignored, covers at least this share of a candidate."""
    covered = _covered(truth.crowd_boxes, candidates, threshold)
    if truth.ignored_boxes is not None:
        for boxes in _parts(truth.ignored_boxes):
            covered |= _covered(boxes, candidates, threshold)
    return covered


def _parts(boxes: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields [B, n, 4] parts of ignored boxes, which can be thousands: outside of XLA their overlaps would not fit into memory."""
    num_boxes = int(boxes.shape[1])
    used = boxes[:, : num_rows(box_ops.areas(boxes) > 0)]
    for start in range(0, num_boxes, _PART):
        yield used[:, start : start + _PART]


def _near_ignored(ignored_boxes: tf.Tensor, anchors: tf.Tensor, config: AnchorSamplerConfig) -> tf.Tensor:
    """Returns [B, A] bool: which anchors would not be background if the ignored objects were among the others."""
    near = tf.zeros([1, anchors.shape[1]], tf.bool)
    for boxes in _parts(ignored_boxes):
        overlaps = box_ops.iou(boxes, anchors)
        of_object = tf.reduce_max(overlaps, axis=2, keepdims=True)
        is_best = (overlaps >= of_object * (1 - 1e-6)) & (of_object > 0)
        near |= tf.reduce_any(is_best | (overlaps >= config.background_iou), axis=1)
        near |= _covered(boxes, anchors, config.foreground_iou)
    return near


def label_anchors(anchors: tf.Tensor, truth: GroundTruth, image_sizes: tf.Tensor, config: AnchorSamplerConfig) -> tf.Tensor:
    """Labels anchors for the RPN (arXiv:1506.01497, section 3.1.2).

    An anchor is foreground if its IoU with an object is at least `foreground_iou`, or if no other anchor overlaps some
    object more (several can be equal). It is background if its IoU with every object is below `background_iou`.
    Background that crowds cover to `foreground_iou` is ignored, and any anchor that reaches out of the image too far
    (`boundary`). So is background that would be none if the ignored objects were among the others.

    Args:
      anchors: [A, 4].
      truth: the objects.
      image_sizes: [B, 2] height and width.
      config: thresholds.

    Returns:
      [B, A] int32: 1 foreground, 0 background, -1 ignored.
    """
    overlaps = _overlap_with_objects(truth, anchors[None])
    best = tf.reduce_max(overlaps, axis=1)
    of_object = tf.reduce_max(overlaps, axis=2, keepdims=True)
    # A compiler may compute an overlap twice, and round it differently: equal has to mean nearly equal.
    is_best = tf.reduce_any((overlaps >= of_object * (1 - 1e-6)) & (of_object > 0), axis=1)

    labels = tf.where(best < config.background_iou, 0, -1)
    labels = tf.where(_covered(truth.crowd_boxes, anchors[None], config.foreground_iou), -1, labels)
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
    """Draws the anchors that the RPN learns from, and says what it should have answered.

    Args:
      anchors: [A, 4] of all levels.
      truth: the objects.
      image_sizes: [B, 2] height and width.
      config: thresholds, sample sizes, code weights.
    """
    labels = label_anchors(anchors, truth, image_sizes, config.sampler)
    priorities = random_priorities(truth.seeds, labels.shape[1], salt=1)
    samples = sample(labels, priorities, config.sampler.num_samples, config.sampler.foreground_fraction)
    sampled = tf.gather(anchors, samples.rows)
    # Which object it is, matters where an anchor learns its box: at the samples alone.
    matches = tf.argmax(_overlap_with_objects(truth, sampled), axis=1, output_type=tf.int32)
    boxes = tf.gather(truth.boxes, matches, batch_dims=1)
    return AnchorTargets(samples, box_ops.encode(boxes, sampled, config.box_weights))


@with_name_scope
def roi_targets(
    proposals: tf.Tensor, valid: tf.Tensor, truth: GroundTruth, num_classes: int, config: RoiSamplerConfig
) -> RoiTargets:
    """Draws the rois that the heads learn from (arXiv:1504.08083, section 2.3).

    The true boxes join the proposals, so that there is something to learn from before the RPN is any good. A roi is
    foreground if its largest IoU is at least `foreground_iou`; otherwise it is background, or ignored where a crowd
    or an ignored object covers that much of it.

    Args:
      proposals: [B, N, 4].
      valid: [B, N] bool.
      truth: the objects.
      num_classes: K, which is also the background's number.
      config: threshold and sample sizes.
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
    """Returns the linear interpolation of an object's mask at a roi's pixel centres, along one axis, [B, R, size, mask_size]."""
    first, last, start, end = rois[..., axis], rois[..., axis + 2], boxes[..., axis], boxes[..., axis + 2]
    places = (tf.range(size, dtype=tf.float32) + 0.5) / size
    positions = first[..., None] + (last - first)[..., None] * places
    side = tf.maximum(end - start, 1e-3)[..., None]
    in_mask = (positions - start[..., None]) / side * mask_size - 0.5
    # Beside the mask is no object: nothing is clamped, the weights fall to 0 within a pixel.
    return tf.maximum(1.0 - tf.abs(in_mask[..., None] - tf.range(mask_size, dtype=tf.float32)), 0.0)


@with_name_scope
def mask_targets(rois: tf.Tensor, matches: tf.Tensor, truth: GroundTruth, size: int) -> tf.Tensor:
    """Cuts the matched objects' masks to the rois.

    The mask is interpolated at the centres of the roi's `size` x `size` pixels, by a matrix from both sides, and is 1
    from one half on.

    Args:
      rois: [B, R, 4].
      matches: [B, R] rows of the objects.
      truth: the objects.
      size: of a mask that the network draws.

    Returns:
      [B, R, size, size] float32, zeros and ones.
    """
    boxes = tf.gather(truth.boxes, matches, batch_dims=1)
    masks = tf.cast(tf.gather(truth.masks, matches, batch_dims=1), tf.float32)
    y, x = (_mask_weights(rois, boxes, axis, size, masks.shape[-1]) for axis in (0, 1))
    sampled = tf.einsum("bryi,brij,brxj->bryx", y, masks, x)
    # One half is exact in the references; the sum of products that should be one half need not be.
    return tf.cast(sampled >= 0.5 - 1e-4, tf.float32)
