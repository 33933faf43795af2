"""The configuration dataclasses that all architectures share.

Every value of an experiment's YAML file is a field here or in the `config.py` of an architecture, where its default is defined. The
dataclasses derive from the Model Garden's `Config`, so that an experiment is an `ExperimentConfig`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Optional, Union

from official.core import config_definitions
from official.modeling import optimization
from official.modeling.hyperparams import base_config, oneof

from tpuseg import registry
from tpuseg.configs import extensible, ranges
from tpuseg.io import image_files
from tpuseg.ops import windows
from tpuseg.utils.messages import format_count


@dataclasses.dataclass
class NormConfig(base_config.Config):
    """Batch normalization (arXiv:1502.03167).

    Attributes:
      mode: `trainable` (statistics of each replica's batch), `synchronized` (statistics over all replicas; for their precision see
        `layers.norm`) or `frozen` (moving statistics; scale and offset are not trained).
      momentum: momentum of the moving statistics.
      epsilon: value that is added to the variance.
    """

    mode: str = "trainable"
    momentum: float = 0.99
    epsilon: float = 1e-3


@dataclasses.dataclass
class ResNetConfig(base_config.Config):
    """ResNet (arXiv:1512.03385) with atrous stages.

    Attributes:
      depth: 50 or 101.
      stem: `plain` (one 7x7 convolution) or `beta` (three 3x3 convolutions, as in DeepLab's "ResNet beta").
      stride_on: the convolution of the bottleneck that has the stride: `3x3` (torchvision, detectron2) or `1x1` (the paper, Keras
        Applications).
      stride_at: the block of a stage that has the stride: `first` or `last` (research/deeplab), which only DeepLab supports.
      multi_grid: unit rates of the last stage's three blocks (arXiv:1706.05587, section 3.3).
      padding: padding of strided convolutions, `same` (TensorFlow) or `symmetric` (PyTorch, Caffe, Keras Applications' ResNets);
        they differ for even sizes.
    """

    depth: int = 50
    stem: str = "plain"
    stride_on: str = "3x3"
    stride_at: str = "first"
    multi_grid: list[int] = dataclasses.field(default_factory=lambda: [1, 1, 1])
    padding: str = "same"


@dataclasses.dataclass
class MobileNetV2Config(base_config.Config):
    """MobileNetV2 (arXiv:1801.04381).

    Attributes:
      width_multiplier: factor of the number of filters of every layer.
      divisor: numbers of filters are rounded to multiples of it: 8 as in Keras, 1 as in research/deeplab for widths other than 1.
    """

    width_multiplier: float = 1.0
    divisor: int = 8


@dataclasses.dataclass
class Xception65Config(base_config.Config):
    """The modified aligned Xception-65 of DeepLab v3+ (arXiv:1802.02611, section 3.2).

    Attributes:
      multi_grid: unit rates of the last three separable convolutions of the exit flow.
    """

    multi_grid: list[int] = dataclasses.field(default_factory=lambda: [1, 1, 1])


@dataclasses.dataclass
class BackboneConfig(extensible.Extensible, oneof.OneOfConfig):
    """The backbone, and the settings of each backbone under its name.

    Attributes:
      type: `resnet`, `mobilenet_v2`, `xception65`, or a registered backbone of another package.
    """

    components = registry.backbones
    type: Optional[str] = "resnet"
    resnet: ResNetConfig = dataclasses.field(default_factory=ResNetConfig)
    mobilenet_v2: MobileNetV2Config = dataclasses.field(default_factory=MobileNetV2Config)
    xception65: Xception65Config = dataclasses.field(default_factory=Xception65Config)


@dataclasses.dataclass
class InputConfig(base_config.Config):
    """The pixels of the input; the `ModelConfig` of each architecture adds the network.

    Attributes:
      num_channels: number of channels of the images: 3 for RGB, 1 for greyscale, others for other bands; records and the files for
        prediction must have this number. Weights for three channels are adapted when they are restored, see
        `weights.input_channels`.
      pixel_scaling: the scaling that the initial weights were trained with; see `layers.pixels`.
      pixel_mean: value that is subtracted from each channel (0 to 255), in the channel order of the image files; empty for the
        values of `pixel_scaling`.
      pixel_stddev: value by which each channel is then divided; empty for the values of `pixel_scaling`.
    """

    num_channels: int = 3
    pixel_scaling: str = "imagenet"
    pixel_mean: list[float] = dataclasses.field(default_factory=list)
    pixel_stddev: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class NetworkConfig(InputConfig):
    """A network with a backbone; the `ModelConfig` of every architecture adds what follows the backbone.

    Attributes:
      activation: activation after the norms of ResNets, ASPP and DeepLab's decoder, `relu` or `swish` (the Model Garden's DeepLab).
        The other backbones define their own.
      num_frozen_stages: number of the backbone's first stages that are not trained: 1 is the stem, 2 are the stem and the first
        stage (detectron2); 0 trains everything.
    """

    activation: str = "relu"
    num_frozen_stages: int = 0
    backbone: BackboneConfig = dataclasses.field(default_factory=BackboneConfig)
    norm: NormConfig = dataclasses.field(default_factory=NormConfig)


@dataclasses.dataclass
class DataConfig(base_config.Config):
    """The source of the examples, and the batch size.

    Attributes:
      input_path: one or several file patterns; relative patterns are joined to the data directory.
      tfds_name: a data set of tensorflow-datasets that is read instead, for example `oxford_iiit_pet`.
      tfds_split: its split, in the syntax of tensorflow-datasets (`train[:90%]`).
      tfds_label_offset: value that is added to its mask values, for data sets whose first class is 1.
      generate: `shapes` creates the generated data set in the data directory if `input_path` matches no files.
      global_batch_size: number of examples per step over all replicas.
      cache: whether to keep the encoded records in memory after they were read once.
    """

    input_path: Union[str, list[str]] = ""
    tfds_name: str = ""
    tfds_split: str = ""
    tfds_label_offset: int = 0
    generate: str = ""
    global_batch_size: int = 8
    cache: bool = False


@dataclasses.dataclass
class AugmentationsConfig(extensible.Extensible):
    """Augmentations of other packages by name, with their settings; see `data.augmentation`."""

    components = registry.augmentations
    fields_are_optional = True


@dataclasses.dataclass
class ExtraLossConfig(base_config.Config):
    """A loss of another package.

    Attributes:
      weight: Factor of the loss in the sum of all losses.
    """

    weight: float = 1.0


@dataclasses.dataclass
class ExtraLossesConfig(extensible.Extensible):
    """Losses of other packages by name, with their settings; see `training.extra_losses`."""

    components = registry.losses
    fields_are_optional = True


@dataclasses.dataclass
class TrainDataConfig(DataConfig):
    """The training input.

    Attributes:
      shuffle_buffer_size: number of records among which the next one is chosen.
      seed: seed of the order and of the augmentation. The stream of examples depends only on the seed and the position, so that a
        resumed run continues at the same position.
    """

    shuffle_buffer_size: int = 1000
    seed: int = 0
    augmentations: AugmentationsConfig = dataclasses.field(default_factory=AugmentationsConfig)


@dataclasses.dataclass
class EvaluationConfig(base_config.Config):
    """Evaluation and prediction of large images.

    Attributes:
      tile: side in pixels of the overlapping windows as which images are evaluated, and predicted by default; 0 uses whole images.
      tile_overlap: part of a window's side that neighbouring windows share at least.
      tile_scale: factor by which windows are resized before they are placed on the canvas.
      report: whether the last evaluation of a training, and every evaluation by `evaluate.py`, writes the page report/index.html.
    """

    tile: int = 0
    tile_overlap: float = windows.OVERLAP
    tile_scale: float = 1.0
    report: bool = True

    def tiling(self) -> windows.Tiling | None:
        """Returns how images are divided into windows; None for whole images."""
        return windows.Tiling(self.tile, self.tile_overlap, self.tile_scale) if self.tile else None


@dataclasses.dataclass
class TaskConfig(base_config.Config):
    """The settings that the tasks of all architectures share.

    Attributes:
      init_checkpoint: initial weights: a checkpoint, its directory, a file of another library, or `imagenet`, which is downloaded.
      init_classifier: whether to restore the layers that have values for each class; false is for weights of other classes.
      pixel_range: the two values that become black and white, for images with more than 8 bits; by default those of the
        conversion (`--pixel_range`), otherwise the range of 16 bits.
    """

    init_checkpoint: str = ""
    init_classifier: bool = True
    pixel_range: list[float] = dataclasses.field(default_factory=list)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


@dataclasses.dataclass
class EarlyStoppingConfig(base_config.Config):
    """Ending the training before `train_steps`; only in the mode `train_and_eval`.

    Attributes:
      patience: training ends after this number of evaluations without an improvement; 0 turns early stopping off.
      metric: the evaluation metric that must improve, for example `segm/AP` or `loss`; empty is `best_checkpoint_eval_metric`.
      metric_comp: whether `higher` or `lower` values are better; empty is `best_checkpoint_metric_comp` for that metric, `lower`
        for losses and `higher` for others.
      min_delta: a larger difference is an improvement.
    """

    patience: int = 0
    metric: str = ""
    metric_comp: str = ""
    min_delta: float = 0.0


@dataclasses.dataclass
class TrainerConfig(base_config.Config):
    """The length of the run, and its intervals in steps.

    Attributes:
      optimizer_config: the Model Garden's optimizer, learning rate, warm-up and moving average.
      train_steps: number of training steps.
      steps_per_loop: number of steps that a TPU runs before control returns to the host.
      summary_interval: interval of progress lines, which are also written for TensorBoard.
      checkpoint_interval: interval of checkpoints; a killed process loses at most these steps.
      max_to_keep: number of checkpoints that are kept.
      validation_interval: interval of evaluations.
      best_checkpoint_eval_metric: the evaluation metric of the best checkpoint.
      best_checkpoint_metric_comp: whether `higher` or `lower` values are better.
      early_stopping: ends the training when evaluations stop improving.
      continuous_eval_timeout: seconds that continuous evaluation waits for a new checkpoint.
    """

    optimizer_config: optimization.OptimizationConfig = dataclasses.field(default_factory=optimization.OptimizationConfig)
    train_steps: int = 0
    steps_per_loop: int = 100
    summary_interval: int = 100
    checkpoint_interval: int = 500
    max_to_keep: int = 3
    validation_interval: int = 500
    best_checkpoint_eval_metric: str = ""
    best_checkpoint_metric_comp: str = "higher"
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    continuous_eval_timeout: int = 3600


@dataclasses.dataclass
class RuntimeConfig(base_config.Config):
    """The devices and the precision.

    Attributes:
      distribution_strategy: `auto` (a TPU if its name is given, otherwise all GPUs, otherwise one device), `tpu`,
        `multi_worker_mirrored` (configured by TF_CONFIG), `mirrored` or `one_device`.
      tpu: the TPU's name, or `local` on the TPU VM itself.
      tpu_connect_timeout: seconds to wait for the TPU.
      mixed_precision_dtype: `float32`, `bfloat16` or `float16`; weights and losses are always float32.
      enable_xla: whether to compile the train step with XLA on GPUs and CPUs too.
    """

    distribution_strategy: str = "auto"
    tpu: str = ""
    tpu_connect_timeout: int = 300
    mixed_precision_dtype: str = "float32"
    enable_xla: bool = False


@dataclasses.dataclass
class ExperimentConfig(config_definitions.ExperimentConfig):
    """One experiment: task, run and devices.

    Attributes:
      architecture: name of the architecture in `tpuseg.registry`.
      import_modules: Modules of other packages that are imported first; they register components that the experiment names.
    """

    architecture: str = ""
    import_modules: list[str] = dataclasses.field(default_factory=list)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)


# Keys of earlier releases, and where their values are now.
RENAMED_KEYS = {"task.model.norm.activation": "task.model.activation"}
# Those of the Model Garden's optimizers and schedules are in `ranges`.
RANGES: ranges.Table = {
    NormConfig: {
        "mode": ranges.Choice(("trainable", "synchronized", "frozen")),
        "momentum": ranges.BELOW_ONE,
        "epsilon": ranges.EPSILON,
    },
    ResNetConfig: {
        "depth": ranges.Choice((50, 101)),
        "stem": ranges.Choice(("plain", "beta")),
        "stride_on": ranges.Choice(("3x3", "1x1")),
        "stride_at": ranges.Choice(("first", "last")),
        "multi_grid": ranges.between(1, 64),
        "padding": ranges.Choice(("same", "symmetric")),
    },
    MobileNetV2Config: {"width_multiplier": ranges.Range(0, 8, above=True), "divisor": ranges.between(1, 64)},
    Xception65Config: {"multi_grid": ranges.between(1, 64)},
    EvaluationConfig: {
        "tile": ranges.NOT_NEGATIVE,  # Small sizes are refused by `problems`.
        "tile_overlap": ranges.BELOW_ONE,
        "tile_scale": ranges.Range(0, 16, above=True),
    },
    TaskConfig: {"pixel_range": ranges.Range()},
    InputConfig: {
        "num_channels": ranges.between(1, image_files.MAX_CHANNELS),
        "pixel_scaling": ranges.Choice(("imagenet", "caffe", "detectron2", "research_deeplab", "minus_one_to_one")),
        "pixel_mean": ranges.between(0, 255),
        "pixel_stddev": ranges.between(1, 255),
    },
    NetworkConfig: {"activation": ranges.Choice(("relu", "swish")), "num_frozen_stages": ranges.between(0, 5)},
    DataConfig: {
        "generate": ranges.Choice(("", "shapes")),
        "tfds_label_offset": ranges.between(-255, 255),
        "global_batch_size": ranges.COUNT,
    },
    ExtraLossConfig: {"weight": ranges.NOT_NEGATIVE},
    TrainDataConfig: {"shuffle_buffer_size": ranges.COUNT, "seed": ranges.between(0, 2**31 - 2)},
    TrainerConfig: {
        "train_steps": ranges.COUNT,
        "steps_per_loop": ranges.COUNT,
        "summary_interval": ranges.COUNT,
        "checkpoint_interval": ranges.COUNT,
        "max_to_keep": ranges.COUNT,
        "validation_interval": ranges.COUNT,
        "best_checkpoint_metric_comp": ranges.Choice(("higher", "lower")),
        "continuous_eval_timeout": ranges.NOT_NEGATIVE,
    },
    EarlyStoppingConfig: {
        "patience": ranges.NOT_NEGATIVE,
        "metric_comp": ranges.Choice(("", "higher", "lower")),
        "min_delta": ranges.NOT_NEGATIVE,
    },
    RuntimeConfig: {
        "distribution_strategy": ranges.Choice(("auto", "tpu", "multi_worker_mirrored", "mirrored", "one_device")),
        "tpu_connect_timeout": ranges.COUNT,
        "mixed_precision_dtype": ranges.Choice(("float32", "bfloat16", "float16")),
    },
}


def ranges_of_components() -> ranges.Table:
    """Returns the ranges that registered components of other packages have for their own settings."""
    components = (registry.backbones, registry.losses, registry.augmentations)
    return {component.config_class: component.config_ranges for kind in components for component in kind.registered().values()}


# A fault of the configuration: the keys that it concerns, and the message that follows the name of the key.
Problem = tuple[str | tuple[str, ...], str]


def look_up(config: base_config.Config, path: str) -> Any:
    """Returns the value at a dotted path of a configuration."""
    for key in path.split("."):
        config = getattr(config, key)
    return config


def problems(config: ExperimentConfig) -> Iterator[Problem]:
    """Yields (path or paths, message) for values in range that do not work together, for all architectures."""
    if isinstance(config.task.model, NetworkConfig) and config.task.model.backbone.type is None:
        yield "task.model.backbone.type", "is missing; for example resnet"
    trainer = config.trainer
    if trainer.early_stopping.patience and not (trainer.early_stopping.metric or trainer.best_checkpoint_eval_metric):
        yield "trainer.early_stopping.metric", "is missing, and so is trainer.best_checkpoint_eval_metric; for example loss"
    yield from _optimizer_problems(config.trainer.optimizer_config)
    if not image_files.is_range(config.task.pixel_range):
        yield "task.pixel_range", f"is {config.task.pixel_range}, but must be the values that become black and white: [0, 4095]"
    yield from _channel_problems(config.task)
    if 0 < config.task.evaluation.tile < windows.SMALLEST:
        yield "task.evaluation.tile", f"is {config.task.evaluation.tile}, but must be at least {windows.SMALLEST}, or 0"
    for name in ("train_data", "validation_data"):
        data = getattr(config.task, name)
        if bool(data.input_path) == bool(data.tfds_name):
            yield (f"task.{name}", f"task.{name}.input_path", f"task.{name}.tfds_name"), "needs either `input_path` or `tfds_name`"
        if data.tfds_name and not data.tfds_split:
            yield f"task.{name}.tfds_split", f"is missing; it says which part of {data.tfds_name} to read"


def _channel_problems(task: Any) -> Iterator[Problem]:
    """Yields faults of the number of channels and their scaling."""
    model, count = task.model, task.model.num_channels
    for name in ("pixel_mean", "pixel_stddev"):
        values = getattr(model, name)
        if values and len(values) != count:
            both = (f"task.model.{name}", "task.model.num_channels")
            yield both, f"{name} has {format_count(len(values), 'value')}, but num_channels is {count}; give one value per channel"
    if bool(model.pixel_mean) != bool(model.pixel_stddev):
        given, missing = ("pixel_mean", "pixel_stddev") if model.pixel_mean else ("pixel_stddev", "pixel_mean")
        yield f"task.model.{given}", f"is given without {missing}; give both, or neither"
    elif count != 3 and not model.pixel_mean and model.pixel_scaling != "minus_one_to_one":
        paths = ("task.model.num_channels", "task.model.pixel_scaling", "task.model.pixel_mean", "task.model.pixel_stddev")
        yield (
            paths,
            f"num_channels is {count}, but pixel_scaling {model.pixel_scaling} is defined for three channels: give pixel_mean and"
            f" pixel_stddev of {count} values from 0 to 255 (the converter prints those of the data), or use pixel_scaling:"
            " minus_one_to_one, which is equal for all channels",
        )
    for name in ("train_data", "validation_data"):
        if count != 3 and getattr(task, name).tfds_name:
            both = ("task.model.num_channels", f"task.{name}.tfds_name")
            yield both, f"num_channels is {count}, but data sets of tensorflow-datasets are read with 3; convert them to records"


def scale_problems(data: Any) -> Iterator[Problem]:
    """Yields a fault if `scale_min` is larger than `scale_max`."""
    if data.scale_min > data.scale_max:
        both = ("task.train_data.scale_min", "task.train_data.scale_max")
        yield both, f"scale_min {data.scale_min} is larger than scale_max {data.scale_max}"


def _optimizer_problems(config: optimization.OptimizationConfig) -> Iterator[Problem]:
    path = "trainer.optimizer_config"
    if config.optimizer.type is None:
        yield f"{path}.optimizer.type", "is missing; for example sgd"
    if config.learning_rate.type is None:
        yield f"{path}.learning_rate.type", "is missing; for example polynomial"
        return
    kinds = [("learning_rate", config.learning_rate)] + [("warmup", config.warmup)] * (config.warmup.type is not None)
    for name, chosen in kinds:
        path, schedule = f"trainer.optimizer_config.{name}.{chosen.type}", chosen.get()
        for key, value in schedule.as_dict().items():
            if value is None and key != "staircase":
                yield f"{path}.{key}", "is missing"
    schedule = config.learning_rate.get()
    boundaries, values = getattr(schedule, "boundaries", None), getattr(schedule, "values", None)
    path = f"trainer.optimizer_config.learning_rate.{config.learning_rate.type}"
    if boundaries is not None and values is not None:
        both = (f"{path}.boundaries", f"{path}.values")
        if len(values) != len(boundaries) + 1:
            given = f"{format_count(len(values), 'value')} for {format_count(len(boundaries), 'boundary', 'boundaries')}"
            yield both, f"{given}; there must be one more value than boundaries"
        if any(later <= earlier for earlier, later in zip(boundaries, boundaries[1:], strict=False)):
            yield f"{path}.boundaries", f"is {list(boundaries)}, but each must be larger than the one before"
