"""Configuration of DeepLab v3+ (arXiv:1802.02611)."""

import dataclasses
from collections.abc import Iterator

from official.modeling.hyperparams import base_config

from tpuseg.configs import ranges, schema
from tpuseg.utils.messages import format_count


@dataclasses.dataclass
class AsppConfig(base_config.Config):
    """Atrous spatial pyramid pooling (arXiv:1706.05587, section 3.3).

    Attributes:
      num_filters: number of filters of each branch and of the projection.
      atrous_rates: atrous rates of the 3x3 branches at output stride 16; doubled at 8, halved at 32. Empty for no such branches.
      separable: whether the 3x3 convolutions are depthwise separable.
      dropout_rate: rate of the dropout after the projection, in training.
    """

    num_filters: int = 256
    atrous_rates: list[int] = dataclasses.field(default_factory=lambda: [6, 12, 18])
    separable: bool = True
    dropout_rate: float = 0.1


@dataclasses.dataclass
class DecoderConfig(base_config.Config):
    """The decoder (arXiv:1802.02611, section 3.1).

    Attributes:
      type: `v3plus`, or `none` for DeepLab v3, which classifies the outputs of ASPP at the output stride.
      low_level_filters: number of filters of the 1x1 convolution of the low-level features.
      num_filters: number of filters of the two 3x3 convolutions.
      separable: whether the 3x3 convolutions are depthwise separable.
    """

    type: str = "v3plus"
    low_level_filters: int = 48
    num_filters: int = 256
    separable: bool = True


@dataclasses.dataclass
class ModelConfig(schema.NetworkConfig):
    """The network; its input is configured by `schema.InputConfig`.

    Attributes:
      num_classes: number of classes, including the background if the data set has one.
      input_size: [height, width] of the training crop in pixels.
      output_stride: stride of the backbone's last features: 8, 16 or 32.
    """

    num_classes: int = 21
    input_size: list[int] = dataclasses.field(default_factory=lambda: [513, 513])
    output_stride: int = 16
    aspp: AsppConfig = dataclasses.field(default_factory=AsppConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)


@dataclasses.dataclass
class LossConfig(base_config.Config):
    """Pixel-wise softmax cross entropy.

    Attributes:
      ignore_label: pixels with this label are ignored by the loss and by the metrics.
      l2_weight_decay: factor of half the sum of squares of all convolution kernels.
      class_weights: one weight per class, or empty for equal weights.
      label_smoothing: probability that is distributed uniformly over all classes.
      hard_pixel_fraction: fraction of a replica's valid pixels that are trained on, those with the largest losses; 1.0 uses all
        of them (online hard example mining, arXiv:1604.03540, applied to pixels).
    """

    ignore_label: int = 255
    l2_weight_decay: float = 4e-5
    class_weights: list[float] = dataclasses.field(default_factory=list)
    label_smoothing: float = 0.0
    hard_pixel_fraction: float = 1.0
    extra: schema.ExtraLossesConfig = dataclasses.field(default_factory=schema.ExtraLossesConfig)


@dataclasses.dataclass
class TrainDataConfig(schema.TrainDataConfig):
    """Training input and its augmentation.

    Attributes:
      scale_min: smallest random scale.
      scale_max: largest random scale.
      flip: mirrors half of the images left to right.
      color_jitter: strength of random brightness, contrast and saturation; 0 is off, 0.4 is strong.
    """

    scale_min: float = 0.5
    scale_max: float = 2.0
    flip: bool = True
    color_jitter: float = 0.0


@dataclasses.dataclass
class EvaluationConfig(schema.EvaluationConfig):
    """Prediction in evaluation and afterwards.

    Attributes:
      input_size: [height, width] of the canvas in pixels; empty uses the size of the training crop. Larger images are reduced to
        fit, so it should be at least the size of the images.
      scales: the canvas is resized by each of these factors, and the class probabilities are averaged.
      flip: whether to average with the prediction for the mirrored image.
      num_pictures: number of images that are drawn with ground truth and prediction, in TensorBoard and in the model directory.
    """

    input_size: list[int] = dataclasses.field(default_factory=list)
    scales: list[float] = dataclasses.field(default_factory=lambda: [1.0])
    flip: bool = False
    num_pictures: int = 8


@dataclasses.dataclass
class DeepLabConfig(schema.TaskConfig):
    """The task: network, losses, data and evaluation."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    train_data: TrainDataConfig = dataclasses.field(default_factory=TrainDataConfig)
    validation_data: schema.DataConfig = dataclasses.field(default_factory=schema.DataConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


def evaluation_canvas(config: DeepLabConfig) -> tuple[int, int]:
    """Returns (height, width) of the canvas on which images are evaluated."""
    height, width = config.evaluation.input_size or config.model.input_size
    return height, width


@dataclasses.dataclass
class ExperimentConfig(schema.ExperimentConfig):
    """One DeepLab v3+ experiment."""

    task: DeepLabConfig = dataclasses.field(default_factory=DeepLabConfig)


_SIDE = ranges.between(32, 16384)
RANGES: ranges.Table = {
    AsppConfig: {"num_filters": ranges.COUNT, "atrous_rates": ranges.between(1, 1000), "dropout_rate": ranges.BELOW_ONE},
    DecoderConfig: {"type": ranges.Choice(("v3plus", "none")), "low_level_filters": ranges.COUNT, "num_filters": ranges.COUNT},
    ModelConfig: {"num_classes": ranges.between(2, 255), "input_size": _SIDE, "output_stride": ranges.Choice((8, 16, 32))},
    LossConfig: {
        "ignore_label": ranges.Range(),  # Depends on the number of classes, see `problems`.
        "l2_weight_decay": ranges.FRACTION,
        "class_weights": ranges.NOT_NEGATIVE,
        "label_smoothing": ranges.BELOW_ONE,
        "hard_pixel_fraction": ranges.EPSILON,
    },
    TrainDataConfig: {
        "scale_min": ranges.Range(0, 100, above=True),
        "scale_max": ranges.Range(0, 100, above=True),
        "color_jitter": ranges.FRACTION,
    },
    EvaluationConfig: {
        "input_size": _SIDE,
        "scales": ranges.Range(0, 16, above=True),
        "num_pictures": ranges.NOT_NEGATIVE,
    },
}


def problems(config: ExperimentConfig) -> Iterator[schema.Problem]:
    """Yields (path or paths, message) for values of the right type and in range that do not work together."""
    yield from schema.problems(config)
    model, losses = config.task.model, config.task.losses
    if len(model.input_size) != 2:
        yield "task.model.input_size", f"is {model.input_size}, but must be [height, width]"
    canvas = config.task.evaluation.input_size
    if canvas and len(canvas) != 2:
        yield "task.evaluation.input_size", f"is {canvas}, but must be [height, width], or empty"
    if 0 <= losses.ignore_label < model.num_classes:
        yield (
            "task.losses.ignore_label",
            f"is {losses.ignore_label}, which is also one of the {model.num_classes} classes; use 255",
        )
    elif not 0 <= losses.ignore_label <= 255:
        yield (
            "task.losses.ignore_label",
            f"is {losses.ignore_label}, but must be {model.num_classes} to 255, because masks have 8 bits; use 255, and pass the"
            " mask values to be ignored to the converter (--ignore_value)",
        )
    if losses.class_weights and len(losses.class_weights) != model.num_classes:
        yield (
            ("task.losses.class_weights", "task.model.num_classes"),
            f"has {format_count(len(losses.class_weights), 'value')} for {model.num_classes} classes; give one per class, or none",
        )
    if losses.class_weights and not any(losses.class_weights):
        yield "task.losses.class_weights", "are all 0, so nothing would be trained; set at least one to a positive number"
    yield from schema.scale_problems(config.task.train_data)
    if not config.task.evaluation.scales:
        yield "task.evaluation.scales", "is empty; [1.0] evaluates images at their original size"
