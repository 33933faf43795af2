"""Configuration of Mask R-CNN (arXiv:1703.06870) with FPN (arXiv:1612.03144).

The defaults are detectron2's R50-FPN.
"""

import dataclasses
from collections.abc import Iterator

from official.modeling.hyperparams import base_config

from tpuseg.configs import ranges, schema
from tpuseg.ops import windows
from tpuseg.utils.messages import format_count


@dataclasses.dataclass
class FpnConfig(base_config.Config):
    """Feature pyramid network (arXiv:1612.03144, section 3).

    Attributes:
      num_filters: number of filters of every level, and of the RPN's convolution.
    """

    num_filters: int = 256


@dataclasses.dataclass
class AnchorConfig(base_config.Config):
    """The RPN's anchors (arXiv:1612.03144, section 4.1): one size per level, several aspect ratios.

    Attributes:
      sizes: square root of the area in pixels, for each level from P2 to P6.
      aspect_ratios: height / width.
      offset: position of the anchor's centre in its cell, in strides: 0.0 (detectron2, torchvision) or 0.5.
      rounded: rounds the corners around the centre to whole pixels, as torchvision does; its weights require it.
    """

    sizes: list[float] = dataclasses.field(default_factory=lambda: [32.0, 64.0, 128.0, 256.0, 512.0])
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])
    offset: float = 0.0
    rounded: bool = False


@dataclasses.dataclass
class AnchorSamplerConfig(base_config.Config):
    """Sampling of anchors for training the RPN (arXiv:1506.01497, section 3.1.2).

    Attributes:
      num_samples: number of anchors per image.
      foreground_fraction: maximum fraction of foreground anchors; the others are background.
      foreground_iou: an anchor is foreground if its IoU with an object is at least this.
      background_iou: an anchor is background if its IoU with every object is below this; between the two it is ignored.
      boundary: anchors that reach farther out of the image than this number of pixels are ignored; -1 ignores none.
    """

    num_samples: int = 256
    foreground_fraction: float = 0.5
    foreground_iou: float = 0.7
    background_iou: float = 0.3
    boundary: float = -1.0


@dataclasses.dataclass
class RpnConfig(base_config.Config):
    """Region proposal network (arXiv:1506.01497, section 3.1).

    Attributes:
      num_convs: number of 3x3 convolutions (1 in the paper, 2 in torchvision's v2 model).
      box_weights: factors of the box encoding (dy, dx, dh, dw).
      num_candidates_train: number of anchors per level, those with the highest scores, before suppression in training.
      num_candidates_test: the same in evaluation.
      num_proposals_train: number of proposals of all levels together after suppression in training.
      num_proposals_test: the same in evaluation.
      nms_iou: a box is dropped if its IoU with a box of the same level and a higher score is larger than this.
    """

    anchors: AnchorConfig = dataclasses.field(default_factory=AnchorConfig)
    sampler: AnchorSamplerConfig = dataclasses.field(default_factory=AnchorSamplerConfig)
    num_convs: int = 1
    box_weights: list[float] = dataclasses.field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    num_candidates_train: int = 2000
    num_candidates_test: int = 1000
    num_proposals_train: int = 1000
    num_proposals_test: int = 1000
    nms_iou: float = 0.7


@dataclasses.dataclass
class RoiSamplerConfig(base_config.Config):
    """Sampling of proposals for training the heads (arXiv:1504.08083, section 2.3).

    Attributes:
      num_samples: number of rois per image, including ground-truth boxes.
      foreground_fraction: maximum fraction of foreground rois; the mask head is trained on these.
      foreground_iou: a roi is foreground if its IoU with an object is at least this, and background otherwise.
    """

    num_samples: int = 512
    foreground_fraction: float = 0.25
    foreground_iou: float = 0.5


@dataclasses.dataclass
class RoiAlignConfig(base_config.Config):
    """ROI align (arXiv:1703.06870, section 3).

    Attributes:
      sampling_ratio: number of samples per bin and axis; a bin is their mean.
      aligned: treats pixels as areas with their centres at half coordinates (detectron2). If false, samples are shifted by half a
        feature cell down and right, and a roi has at least the size of one cell, which torchvision's v1 weights require.
    """

    sampling_ratio: int = 2
    aligned: bool = True


@dataclasses.dataclass
class BoxHeadConfig(base_config.Config):
    """The head that classifies rois and refines their boxes (arXiv:1612.03144, section 4.2).

    Attributes:
      roi_size: number of bins along a side.
      num_convs: number of 3x3 convolutions (0 in the paper, 4 in arXiv:1811.08883 and in the Model Garden).
      conv_filters: number of filters of each convolution.
      num_dense: number of fully connected layers.
      dense_units: number of units of each fully connected layer.
      box_weights: factors of the box encoding (dy, dx, dh, dw).
    """

    roi_size: int = 7
    num_convs: int = 0
    conv_filters: int = 256
    num_dense: int = 2
    dense_units: int = 1024
    box_weights: list[float] = dataclasses.field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])


@dataclasses.dataclass
class MaskHeadConfig(base_config.Config):
    """The head that predicts masks (arXiv:1703.06870, figure 4, right).

    Attributes:
      roi_size: number of bins along a side; masks are twice as large.
      num_convs: number of 3x3 convolutions.
      num_filters: number of filters of each convolution, and of the deconvolution.
    """

    roi_size: int = 14
    num_convs: int = 4
    num_filters: int = 256


@dataclasses.dataclass
class DetectionConfig(base_config.Config):
    """Selection of detections from the outputs of the heads (arXiv:1703.06870, section 3.1).

    Attributes:
      score_threshold: detections have a higher probability than this.
      num_candidates: number of pairs of roi and class, those with the highest scores, before suppression. It only changes the
        result if fewer than `max_detections` of them remain.
      nms_iou: a box is dropped if its IoU with a box of the same class and a higher score is larger than this.
      max_detections: maximum number per image; 0 is the largest number of instances in an image of the records, rounded up to
        hundreds and at least 100, with proposals and candidates in proportion. Above 100, evaluation adds metrics that use all
        detections to those of COCO.
    """

    score_threshold: float = 0.05
    num_candidates: int = 2000
    nms_iou: float = 0.5
    max_detections: int = 0


@dataclasses.dataclass
class ModelConfig(schema.NetworkConfig):
    """The network; its input is configured by `schema.InputConfig`.

    Attributes:
      num_classes: number of classes without the background.
      input_size: [height, width] of the canvas in pixels, multiples of 64 so that the cells of every level fill it.
      short_side: images are resized until the shorter side has this number of pixels or the longer side `long_side`; 0 makes them
        as large as the canvas allows.
      long_side: see `short_side`.
      norm: norm of the backbone; the FPN and the heads have none.
      num_frozen_stages: number of stages of a ResNet, counted from the stem, that are not trained: 2 are the stem and the first
        stage (detectron2).
    """

    num_classes: int = 80
    input_size: list[int] = dataclasses.field(default_factory=lambda: [1024, 1024])
    short_side: int = 0
    long_side: int = 1333
    # The anchors and ROI align assume the positions of cells that result from symmetric padding.
    backbone: schema.BackboneConfig = dataclasses.field(
        default_factory=lambda: schema.BackboneConfig(resnet=schema.ResNetConfig(padding="symmetric"))
    )
    num_frozen_stages: int = 2
    norm: schema.NormConfig = dataclasses.field(default_factory=lambda: schema.NormConfig(mode="frozen", epsilon=1e-5))
    fpn: FpnConfig = dataclasses.field(default_factory=FpnConfig)
    rpn: RpnConfig = dataclasses.field(default_factory=RpnConfig)
    roi_sampler: RoiSamplerConfig = dataclasses.field(default_factory=RoiSamplerConfig)
    roi_align: RoiAlignConfig = dataclasses.field(default_factory=RoiAlignConfig)
    box_head: BoxHeadConfig = dataclasses.field(default_factory=BoxHeadConfig)
    mask_head: MaskHeadConfig = dataclasses.field(default_factory=MaskHeadConfig)
    detection: DetectionConfig = dataclasses.field(default_factory=DetectionConfig)


@dataclasses.dataclass
class LossConfig(base_config.Config):
    """The five losses and the weight decay.

    Attributes:
      rpn_smooth_l1_beta: beta of the RPN's box loss, which is quadratic below this distance; 0 is plain L1.
      box_smooth_l1_beta: the same for the box head.
      rpn_objectness_weight: factor of the RPN's objectness loss.
      rpn_box_weight: factor of the RPN's box loss.
      class_weight: factor of the class loss.
      box_weight: factor of the box loss.
      mask_weight: factor of the mask loss.
      l2_weight_decay: factor of half the sum of squares of all trainable kernels.
    """

    rpn_smooth_l1_beta: float = 0.0
    box_smooth_l1_beta: float = 0.0
    rpn_objectness_weight: float = 1.0
    rpn_box_weight: float = 1.0
    class_weight: float = 1.0
    box_weight: float = 1.0
    mask_weight: float = 1.0
    l2_weight_decay: float = 1e-4
    extra: schema.ExtraLossesConfig = dataclasses.field(default_factory=schema.ExtraLossesConfig)


@dataclasses.dataclass
class TrainDataConfig(schema.TrainDataConfig):
    """Training input and its augmentation.

    Attributes:
      scale_min: smallest random factor of the image's size in evaluation; 0.8 is standard, and 0.1 large-scale jitter
        (arXiv:2012.07177).
      scale_max: largest random factor; 1.25 is standard, and 2.0 large-scale jitter.
      flip: mirrors half of the images left to right.
      flip_vertical: mirrors half of the images top to bottom; for images without a natural orientation (microscopy, aerial images).
      rotate_right_angles: rotates images by 0, 90, 180 or 270 degrees with equal probability; for images of the same kind.
      rotate_degrees: rotates each image by a random angle of at most this number of degrees; empty corners become grey.
      color_jitter: strength of random brightness, contrast and saturation; 0 is off, 0.4 is strong.
      copy_paste: probability that objects of another image are pasted (arXiv:2012.07177); intended for large-scale jitter.
      window: side in pixels of the image of the windows that large images are trained in, the shorter side if the canvas is not
        square; the random factors then refer to the window on the canvas instead of the whole image. 0 uses whole images.
      empty_share: probability that a window of `window` pixels is anywhere in the image instead of around a random instance.
      min_visible: instances are ignored if a crop or window shows a smaller part of their mask, neither foreground nor background.
      max_instances: maximum number of instances per image. If there are more, a random choice is used, and the others are ignored:
        they are neither foreground nor background. 0 is the largest number in the records, at least 100 and at most 512.
      max_ignored: maximum number of ignored instances per image; it is increased if the records need more.
      max_crowds: maximum number of ignored regions per image; it is increased if the records need more.
    """

    scale_min: float = 0.8
    scale_max: float = 1.25
    flip: bool = True
    flip_vertical: bool = False
    rotate_right_angles: bool = False
    rotate_degrees: float = 0.0
    color_jitter: float = 0.0
    copy_paste: float = 0.0
    window: int = 0
    empty_share: float = 0.1
    min_visible: float = 0.0
    max_instances: int = 0
    max_ignored: int = 0
    max_crowds: int = 10


@dataclasses.dataclass
class EvaluationConfig(schema.EvaluationConfig):
    """Outputs of evaluation in addition to the metrics.

    Attributes:
      num_pictures: number of images that are drawn with ground truth and prediction, in TensorBoard and in the model directory.
      drawn_score: smallest score of a detection that is drawn, also by prediction.
      num_loss_images: number of images, the first ones, from which the validation losses are computed; 0 turns them off.
      max_detections: maximum number of detections per image for the metrics that end in _all, which exist if it is more than
        COCO's 100; 0 is the network's number (`model.detection.max_detections`), or with `tile` all detections of an image.
    """

    num_pictures: int = 8
    drawn_score: float = 0.5
    num_loss_images: int = 32
    max_detections: int = 0


@dataclasses.dataclass
class MaskRcnnConfig(schema.TaskConfig):
    """The task: network, losses, data and evaluation."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    train_data: TrainDataConfig = dataclasses.field(default_factory=TrainDataConfig)
    validation_data: schema.DataConfig = dataclasses.field(default_factory=schema.DataConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


@dataclasses.dataclass
class ExperimentConfig(schema.ExperimentConfig):
    """One Mask R-CNN experiment."""

    task: MaskRcnnConfig = dataclasses.field(default_factory=MaskRcnnConfig)


_SCALE = ranges.Range(0, 100, above=True)
RANGES: ranges.Table = {
    FpnConfig: {"num_filters": ranges.COUNT},
    AnchorConfig: {"sizes": ranges.POSITIVE, "aspect_ratios": ranges.POSITIVE, "offset": ranges.FRACTION},
    AnchorSamplerConfig: {
        "num_samples": ranges.COUNT,
        "foreground_fraction": ranges.FRACTION,
        "foreground_iou": ranges.FRACTION,
        "background_iou": ranges.FRACTION,
        "boundary": ranges.at_least(-1),
    },
    RpnConfig: {
        "num_convs": ranges.COUNT,
        "box_weights": ranges.POSITIVE,
        "num_candidates_train": ranges.COUNT,
        "num_candidates_test": ranges.COUNT,
        "num_proposals_train": ranges.COUNT,
        "num_proposals_test": ranges.COUNT,
        "nms_iou": ranges.FRACTION,
    },
    RoiSamplerConfig: {
        "num_samples": ranges.COUNT,
        "foreground_fraction": ranges.FRACTION,
        "foreground_iou": ranges.FRACTION,
    },
    RoiAlignConfig: {"sampling_ratio": ranges.COUNT},
    BoxHeadConfig: {
        "roi_size": ranges.COUNT,
        "num_convs": ranges.NOT_NEGATIVE,
        "conv_filters": ranges.COUNT,
        "num_dense": ranges.COUNT,
        "dense_units": ranges.COUNT,
        "box_weights": ranges.POSITIVE,
    },
    MaskHeadConfig: {"roi_size": ranges.COUNT, "num_convs": ranges.NOT_NEGATIVE, "num_filters": ranges.COUNT},
    DetectionConfig: {
        "score_threshold": ranges.FRACTION,
        "num_candidates": ranges.COUNT,
        "nms_iou": ranges.FRACTION,
        "max_detections": ranges.NOT_NEGATIVE,
    },
    ModelConfig: {
        "num_classes": ranges.COUNT,
        "input_size": ranges.between(64, 16384),
        "short_side": ranges.NOT_NEGATIVE,
        "long_side": ranges.COUNT,
    },
    LossConfig: {
        "rpn_smooth_l1_beta": ranges.NOT_NEGATIVE,
        "box_smooth_l1_beta": ranges.NOT_NEGATIVE,
        "rpn_objectness_weight": ranges.NOT_NEGATIVE,
        "rpn_box_weight": ranges.NOT_NEGATIVE,
        "class_weight": ranges.NOT_NEGATIVE,
        "box_weight": ranges.NOT_NEGATIVE,
        "mask_weight": ranges.NOT_NEGATIVE,
        "l2_weight_decay": ranges.FRACTION,
    },
    TrainDataConfig: {
        "scale_min": _SCALE,
        "scale_max": _SCALE,
        "rotate_degrees": ranges.between(0, 180),
        "color_jitter": ranges.FRACTION,
        "copy_paste": ranges.FRACTION,
        "window": ranges.NOT_NEGATIVE,
        "empty_share": ranges.FRACTION,
        "min_visible": ranges.FRACTION,
        "max_instances": ranges.NOT_NEGATIVE,
        "max_ignored": ranges.NOT_NEGATIVE,
        "max_crowds": ranges.COUNT,
    },
    EvaluationConfig: {
        "num_loss_images": ranges.NOT_NEGATIVE,
        "num_pictures": ranges.NOT_NEGATIVE,
        "drawn_score": ranges.FRACTION,
        "max_detections": ranges.NOT_NEGATIVE,
    },
}


def problems(config: ExperimentConfig) -> Iterator[schema.Problem]:
    """Yields (path or paths, message) for values of the right type and in range that do not work together."""
    yield from schema.problems(config)
    model = config.task.model
    if len(model.input_size) != 2 or any(size % 64 for size in model.input_size):
        yield "task.model.input_size", f"is {model.input_size}, but must be [height, width], multiples of 64"
    anchors = model.rpn.anchors
    if len(anchors.sizes) != 5:
        yield "task.model.rpn.anchors.sizes", f"has {format_count(len(anchors.sizes), 'value')}, but there are 5 levels, P2 to P6"
    if not anchors.aspect_ratios:
        yield "task.model.rpn.anchors.aspect_ratios", "is empty; [0.5, 1.0, 2.0] is usual"
    if model.rpn.sampler.background_iou > model.rpn.sampler.foreground_iou:
        yield (
            ("task.model.rpn.sampler.background_iou", "task.model.rpn.sampler.foreground_iou"),
            f"background_iou is {model.rpn.sampler.background_iou}, above foreground_iou {model.rpn.sampler.foreground_iou}",
        )
    for path in ("rpn", "box_head"):
        weights = getattr(model, path).box_weights
        if len(weights) != 4:
            yield f"task.model.{path}.box_weights", f"is {weights}, but must be four numbers (dy, dx, dh, dw)"
    if model.backbone.type == "resnet" and model.backbone.resnet.stride_at != "first":
        yield "task.model.backbone.resnet.stride_at", "must be first; `last` is only supported by DeepLab"
    yield from schema.scale_problems(config.task.train_data)
    window = config.task.train_data.window
    if 0 < window < windows.SMALLEST:
        yield "task.train_data.window", f"is {window}, but must be at least {windows.SMALLEST} pixels, or 0 for whole images"
