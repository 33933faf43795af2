"""Mask R-CNN (arXiv:1703.06870) with an FPN (arXiv:1612.03144).

Shapes: B images, H W the canvas, A sampled anchors, N proposals, R rois, K classes, D detections, S the side of a mask.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras

from tpuseg import backbones
from tpuseg.layers.class_layers import ClassLayer
from tpuseg.layers.pixels import PixelScaling
from tpuseg.maskrcnn import anchors, targets
from tpuseg.maskrcnn import cells as cells_of
from tpuseg.maskrcnn.config import ModelConfig
from tpuseg.maskrcnn.detection import detect
from tpuseg.maskrcnn.fpn import Fpn
from tpuseg.maskrcnn.heads import BoxHead, MaskHead
from tpuseg.maskrcnn.roi_align.pooling import roi_align, roi_align_all
from tpuseg.maskrcnn.roi_align.samples import Pooling
from tpuseg.maskrcnn.rpn import RpnHead, propose
from tpuseg.ops import tracing


class MaskRcnn(tf_keras.Model):
    """Backbone, FPN, RPN, box head and mask head."""

    class_layers: ClassVar[Mapping[str, ClassLayer]] = {
        "box_head/classes": ClassLayer(has_background=True),
        "box_head/deltas": ClassLayer(values_per_class=4),
        "mask_head/classes": ClassLayer(),
    }
    # Layers whose last axis has the anchors' aspect ratios, and how many values belong to one.
    anchor_layers: ClassVar[Mapping[str, int]] = {"rpn/objectness": 1, "rpn/deltas": 4}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(name="mask_rcnn")
        self._config = config
        self.pixels = PixelScaling.of(config)
        self.backbone = backbones.build(config, 32)
        self.fpn = Fpn(config.fpn)
        self.rpn = RpnHead(config.rpn, config.fpn.num_filters)
        self.box_head = BoxHead(config.box_head, config.num_classes)
        self.mask_head = MaskHead(config.mask_head, config.num_classes)

    @property
    def aspect_ratios(self) -> tuple[float, ...]:
        """Aspect ratios of the anchors, in the order in which `anchor_layers` have them."""
        return tuple(self._config.rpn.anchors.aspect_ratios)

    def call(
        self,
        images: tf.Tensor,
        image_sizes: tf.Tensor,
        training: bool = False,
        ground_truth: targets.GroundTruth | None = None,
        updates_norms: bool = True,
    ) -> dict[str, Any]:
        """Detects objects, or in training, returns the inputs of the losses.

        Args:
          images: [B, H, W, C] uint8, RGB if there are three channels; H and W are static.
          image_sizes: [B, 2] int32 or float32 height and width of the image, which is in the top-left corner of the canvas. The
            padding is ignored: it is set to the mean colour.
          training: whether to return the inputs of the losses.
          ground_truth: the objects; required in training.
          updates_norms: in training, whether norms use and update the batch's statistics; otherwise they use the moving ones.

        Returns:
          In training `objectness_logits` [B, A] and `anchor_deltas` [B, A, 4] of the sampled anchors, `anchor_targets`,
          `class_logits` [B, R, K + 1], `box_deltas` [B, R, K, 4], `roi_targets`, and `mask_logits` and `mask_targets` [B, F, S, S]
          of the first F rois. Otherwise `boxes` [B, D, 4] in pixels of the canvas, `scores` [B, D], `classes` [B, D] (0..K-1, -1
          for padding), `valid` [B, D] and `masks` [B, D, S, S]: box masks with probabilities at the centres of the cells.
        """
        image_sizes = tf.cast(image_sizes, tf.float32)
        pyramid = self.features(images, image_sizes, training=training and updates_norms)
        rpn_features = self.rpn.features(pyramid)
        objectness, deltas = self.rpn(rpn_features)
        levels = self.anchors(pyramid)
        proposals = propose(objectness, deltas, levels, image_sizes, self._config.rpn, training)
        if not training:
            return self._detect(cells_of.build_table(pyramid[:-1]), proposals.boxes, proposals.valid, image_sizes)
        if ground_truth is None:
            raise ValueError("the model needs `ground_truth` in training")
        cells = cells_of.build_table(pyramid)
        anchor_targets = targets.anchor_targets(tf.concat(levels, axis=0), ground_truth, image_sizes, self._config.rpn)
        # The outputs for all anchors have no gradient; the loss is computed from those of the sampled anchors.
        rpn_cells = cells if rpn_features is pyramid else cells_of.build_table(rpn_features)
        with tf.name_scope("rpn_samples"):
            sampled_objectness, sampled_deltas = self.rpn.score_anchors(rpn_cells, anchor_targets.samples.rows)
        return {
            "objectness_logits": sampled_objectness,
            "anchor_deltas": sampled_deltas,
            "anchor_targets": anchor_targets,
            **self._head_outputs(cells, proposals.boxes, proposals.valid, ground_truth),
        }

    def features(self, images: tf.Tensor, image_sizes: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Returns P2 to P6 of uint8 images."""
        pixels = self.pixels(images)
        # Padding is 0 after pixel scaling, as in detectron2 and torchvision.
        pixels *= tf.cast(_inside(images, image_sizes), pixels.dtype)
        return self.fpn(self.backbone(pixels, training=training))

    def anchors(self, pyramid: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the anchors of each level, [anchors, 4] boxes in pixels of the canvas."""
        return [
            tf.constant(anchors.level_anchors(level, features.shape[1:3].as_list(), self._config.rpn.anchors))
            for level, features in zip(anchors.LEVELS, pyramid, strict=True)
        ]

    def _head_outputs(
        self, cells: cells_of.Cells, proposals: tf.Tensor, valid: tf.Tensor, truth: targets.GroundTruth
    ) -> dict[str, Any]:
        config = self._config
        rois = targets.roi_targets(proposals, valid, truth, config.num_classes, config.roi_sampler)
        # Foreground rois come first, and there are at most this many.
        num_masks = max(int(config.roi_sampler.num_samples * config.roi_sampler.foreground_fraction), 1)
        boxes, classes, matches = rois.rois[:, :num_masks], rois.classes[:, :num_masks], rois.matches[:, :num_masks]
        poolings = [
            Pooling(rois.rois.shape[1], config.box_head.roi_size),
            Pooling(tracing.num_rows(rois.foreground[:, :num_masks]), config.mask_head.roi_size),
        ]
        pooled, pooled_for_masks = roi_align_all(cells, rois.rois, poolings, config.roi_align)
        logits, deltas = self.box_head(pooled)
        masks = self._predict_masks(pooled_for_masks, classes)
        return {
            "class_logits": logits,
            "box_deltas": deltas,
            "roi_targets": rois,
            "mask_logits": masks,
            "mask_targets": targets.mask_targets(boxes, matches, truth, masks.shape[-1]),
        }

    def masks(self, cells: cells_of.Cells, boxes: tf.Tensor, classes: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Predicts the masks of boxes.

        Args:
          cells: the levels of the FPN.
          boxes: [B, R, 4] boxes in pixels of the canvas.
          classes: [B, R] int32 class of each box.
          valid: [B, R] bool; the masks of other boxes are not computed if possible.

        Returns:
          [B, R, S, S] float32 logits.
        """
        rows = tracing.num_rows(valid)
        pooled = roi_align(cells, boxes[:, :rows], self._config.mask_head.roi_size, self._config.roi_align)
        return self._predict_masks(pooled, classes)

    def _predict_masks(self, pooled: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Returns the mask logits of pooled rois, padded with zeros to the number of `classes`."""
        return tracing.pad_rows(self.mask_head(pooled, classes[:, : tracing.length(pooled)]), classes.shape[1])

    def _detect(
        self, cells: cells_of.Cells, proposals: tf.Tensor, valid: tf.Tensor, image_sizes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        config = self._config
        rows = tracing.num_rows(valid)
        pooled = roi_align(cells, proposals[:, :rows], config.box_head.roi_size, config.roi_align)
        logits, deltas = (tracing.pad_rows(output, valid.shape[1]) for output in self.box_head(pooled))
        found = detect(proposals, valid, logits, deltas, image_sizes, config.detection, config.box_head.box_weights)
        masks = self.masks(cells, found.boxes, found.classes, found.valid)
        return {**found._asdict(), "masks": tf.sigmoid(masks)}


def _inside(images: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Returns whether pixels of the canvas belong to the image, [B, H, W, 1] bool."""
    rows = tf.range(images.shape[1], dtype=tf.float32)[None, :] < image_sizes[:, :1]
    columns = tf.range(images.shape[2], dtype=tf.float32)[None, :] < image_sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def build(config: ModelConfig) -> MaskRcnn:
    """Builds the model and creates its variables, for images of `config.input_size`."""
    model = MaskRcnn(config)
    images = tf.TensorSpec([1, *config.input_size, config.num_channels], tf.uint8)
    sizes = tf.TensorSpec([1, 2], tf.float32)
    # Tracing with an abstract input creates the variables without any computation.
    tf.function(lambda images, sizes: model(images, sizes, training=False)).get_concrete_function(images, sizes)
    return model
