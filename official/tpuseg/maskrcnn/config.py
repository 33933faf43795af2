"""Configuration of Mask R-CNN (arXiv:1703.06870) with FPN (arXiv:1612.03144).

The defaults are detectron2's R50-FPN.
"""

import dataclasses
from collections.abc import Iterator

from official.modeling.hyperparams import base_config

from tpuseg.configs import ranges, schema
from tpuseg.utils.messages import counted


@dataclasses.dataclass
class FpnConfig(base_config.Config):
    """Feature pyramid network (arXiv:1612.03144, section 3).

    Attributes:
      num_filters: of every level, and of the RPN's convolution.
    """

    num_filters: int = 256


@dataclasses.dataclass
class AnchorConfig(base_config.Config):
    """The RPN's anchors (arXiv:1612.03144, section 4.1): one size a level, several shapes.

    Attributes:
      sizes: square root of the area in pixels, one a level of P2 to P6.
      aspect_ratios: height / width.
      offset: where in its cell an anchor is centred, in strides: 0.0 (detectron2, torchvision) or 0.5.
      rounded: rounds the corners around the centre to whole pixels, as torchvision does; its weights want it.
    """

    sizes: list[float] = dataclasses.field(default_factory=lambda: [32.0, 64.0, 128.0, 256.0, 512.0])
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])
    offset: float = 0.0
    rounded: bool = False


@dataclasses.dataclass
class AnchorSamplerConfig(base_config.Config):
    """Which anchors the RPN learns from (arXiv:1506.01497, section 3.1.2).

    Attributes:
      num_samples: anchors an image.
      foreground_fraction: at most so many of them on objects; the rest is background.
      foreground_iou: an anchor from this overlap on is an object.
      background_iou: below this overlap it is background; between the two it is ignored.
      boundary: anchors that reach farther than so many pixels out of the image are ignored; -1 ignores none.
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
      num_convs: 3x3 convolutions in front (1 in the paper, 2 in torchvision's second model).
      box_weights: multiply the box code (dy, dx, dh, dw).
      num_candidates_train: best anchors a level that go into the suppression, in training.
      num_candidates_test: the same in evaluation.
      num_proposals_train: best boxes of all levels together that are left, in training.
      num_proposals_test: the same in evaluation.
      nms_iou: a box that overlaps a better one of its level by more is dropped.
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
    """Which proposals the heads learn from (arXiv:1504.08083, section 2.3).

    Attributes:
      num_samples: rois an image, true boxes among them.
      foreground_fraction: at most so many of them on objects; these are what the mask head learns from.
      foreground_iou: a roi from this overlap on is an object, any other is background.
    """

    num_samples: int = 512
    foreground_fraction: float = 0.25
    foreground_iou: float = 0.5


@dataclasses.dataclass
class RoiAlignConfig(base_config.Config):
    """ROI align (arXiv:1703.06870, section 3).

    Attributes:
      sampling_ratio: samples a bin and axis, whose mean the bin is.
      aligned: takes pixels as areas, with their centres at half pixels (detectron2). Off, everything lies half a
        feature cell lower and farther right, and a roi is at least one cell large: torchvision's first weights want
        that.
    """

    sampling_ratio: int = 2
    aligned: bool = True


@dataclasses.dataclass
class BoxHeadConfig(base_config.Config):
    """The head that classifies rois and refines their boxes (arXiv:1612.03144, section 4.2).

    Attributes:
      roi_size: bins a side.
      num_convs: 3x3 convolutions in front (0 in the paper, 4 in arXiv:1811.08883's and the Model Garden's heads).
      conv_filters: of each.
      num_dense: fully connected layers.
      dense_units: of each.
      box_weights: multiply the box code (dy, dx, dh, dw).
    """

    roi_size: int = 7
    num_convs: int = 0
    conv_filters: int = 256
    num_dense: int = 2
    dense_units: int = 1024
    box_weights: list[float] = dataclasses.field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])


@dataclasses.dataclass
class MaskHeadConfig(base_config.Config):
    """The head that draws masks (arXiv:1703.06870, figure 4, right).

    Attributes:
      roi_size: bins a side; masks are twice as large.
      num_convs: 3x3 convolutions.
      num_filters: of each, and of the deconvolution.
    """

    roi_size: int = 14
    num_convs: int = 4
    num_filters: int = 256


@dataclasses.dataclass
class DetectionConfig(base_config.Config):
    """From the heads' outputs to detections (arXiv:1703.06870, section 3.1).

    Attributes:
      score_threshold: detections have a larger probability than this.
      num_candidates: pairs of roi and class that go into the suppression, best first. It decides something only where
        fewer than `max_detections` of so many are left.
      nms_iou: a box that overlaps a better one of its class by more is dropped.
      max_detections: of an image; 0 is as many as the fullest image of the records has instances, in hundreds and at least 100,
        with proposals and candidates in proportion. Above 100, evaluation has metrics with all of them beside COCO's.
    """

    score_threshold: float = 0.05
    num_candidates: int = 2000
    nms_iou: float = 0.5
    max_detections: int = 0


@dataclasses.dataclass
class ModelConfig(schema.InputConfig):
    """The network; what it is told about pixels is in `schema.InputConfig`.

    Attributes:
      num_classes: kinds of objects; the background is not one of them.
      input_size: [height, width] of the padded canvas, multiples of 64 so that every level's cells fill it.
      short_side: images are resized until their shorter side has so many pixels, or the longer one `long_side`; 0 makes them
        as large as the canvas allows.
      long_side: see `short_side`.
      norm: of the backbone; the pyramid and the heads have none.
      num_frozen_stages: of a ResNet, counted from the stem, keep their weights: 2 are the stem and the first stage
        (detectron2).
    """

    num_classes: int = 80
    input_size: list[int] = dataclasses.field(default_factory=lambda: [1024, 1024])
    short_side: int = 0
    long_side: int = 1333
    # The pyramid's cells lie where symmetric padding puts them.
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
    """How the five losses are put together.

    Attributes:
      rpn_smooth_l1_beta: of the RPN's box loss: below this distance it is quadratic; 0 is plain L1.
      box_smooth_l1_beta: the same for the box head.
      rpn_objectness_weight: factor of the loss.
      rpn_box_weight: factor of the loss.
      class_weight: factor of the loss.
      box_weight: factor of the loss.
      mask_weight: factor of the loss.
      l2_weight_decay: times half the sum of squares of all kernels that are trained.
    """

    rpn_smooth_l1_beta: float = 0.0
    box_smooth_l1_beta: float = 0.0
    rpn_objectness_weight: float = 1.0
    rpn_box_weight: float = 1.0
    class_weight: float = 1.0
    box_weight: float = 1.0
    mask_weight: float = 1.0
    l2_weight_decay: float = 1e-4


@dataclasses.dataclass
class TrainDataConfig(schema.TrainDataConfig):
    """Training input and its augmentation.

    Attributes:
      scale_min: smallest random factor of the size at which evaluation would see the image; 0.8 is ordinary, 0.1 large-scale
        jitter (arXiv:2012.07177).
      scale_max: largest random factor; 1.25 and 2.0.
      flip: mirrors half of the images.
      flip_vertical: mirrors half of the images top to bottom; for images that have no upper side, as in microscopy or from above.
      rotate_right_angles: turns images by 0, 90, 180 or 270 degrees, each as often; for the same kinds.
      rotate_degrees: rotates each image by a random angle between minus and plus so many degrees; corners become grey.
      color_jitter: strength of random brightness, contrast and saturation; 0 is off, 0.4 is strong.
      copy_paste: probability that some objects of another image are pasted in (arXiv:2012.07177); meant for large-scale jitter.
      max_instances: objects of an image that are learned from at once; of more, a random choice is, and the others are ignored:
        they are neither objects nor background. 0 is as many as the fullest image of the records has, at least 100 and at most
        512.
      max_ignored: places for the others of an image; where records need more, there are more.
      max_crowds: places for the ignored regions of an image; where records need more, there are more.
    """

    scale_min: float = 0.8
    scale_max: float = 1.25
    flip: bool = True
    flip_vertical: bool = False
    rotate_right_angles: bool = False
    rotate_degrees: float = 0.0
    color_jitter: float = 0.0
    copy_paste: float = 0.0
    max_instances: int = 0
    max_ignored: int = 0
    max_crowds: int = 10


@dataclasses.dataclass
class EvaluationConfig(base_config.Config):
    """What evaluation leaves behind besides the metrics.

    Attributes:
      num_pictures: predictions drawn beside the truth, in TensorBoard and in the model directory.
      drawn_score: from which score on a detection is drawn, there and by prediction.
      num_loss_images: the validation losses are of so many images, the first ones; 0 leaves them out.
    """

    num_pictures: int = 8
    drawn_score: float = 0.5
    num_loss_images: int = 32


@dataclasses.dataclass
class MaskRcnnConfig(schema.TaskConfig):
    """The task: network, loss, data and evaluation."""

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
        "num_frozen_stages": ranges.between(0, 5),
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
        "max_instances": ranges.NOT_NEGATIVE,
        "max_ignored": ranges.NOT_NEGATIVE,
        "max_crowds": ranges.COUNT,
    },
    EvaluationConfig: {"num_loss_images": ranges.NOT_NEGATIVE, "num_pictures": ranges.NOT_NEGATIVE, "drawn_score": ranges.FRACTION},
}


def problems(config: ExperimentConfig) -> Iterator[schema.Problem]:
    """Yields (path or paths, message) for values of the right types, in their ranges, that cannot work."""
    yield from schema.problems(config)
    model = config.task.model
    if len(model.input_size) != 2 or any(size % 64 for size in model.input_size):
        yield "task.model.input_size", f"is {model.input_size}, but must be [height, width], multiples of 64"
    anchors = model.rpn.anchors
    if len(anchors.sizes) != 5:
        yield "task.model.rpn.anchors.sizes", f"has {counted(len(anchors.sizes), 'value')}, but there are 5 levels, P2 to P6"
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
    if model.num_frozen_stages and model.backbone.type != "resnet":
        both = ("task.model.num_frozen_stages", "task.model.backbone.type")
        yield both, f"num_frozen_stages is for ResNets; set it to 0 for {model.backbone.type}"
    if model.backbone.type == "resnet" and model.backbone.resnet.stride_at != "first":
        yield "task.model.backbone.resnet.stride_at", "must be first: `last` is for DeepLab, which needs no pyramid"
    yield from schema.scale_problems(config.task.train_data)
