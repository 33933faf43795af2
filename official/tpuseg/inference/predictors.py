"""Predicting with trained models, which are loaded from a model directory, a checkpoint or a SavedModel."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from absl import logging

from tpuseg import registry
from tpuseg.configs import experiments, schema
from tpuseg.inference import tiled
from tpuseg.io import checkpoint_files, checkpoints, files, image_channels, large_images
from tpuseg.ops import windows
from tpuseg.report import writing
from tpuseg.training import distribution, run_directory
from tpuseg.training.task import SegmentationTask
from tpuseg.training.tile_merging import WINDOW, numbers
from tpuseg.training.trainer import moving_average, swap_weights

# Folder in a SavedModel for additional files: the run's configuration and the names of the classes.
ASSETS_FOLDER = "assets.extra"
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
# Input of a predictor: the path of a file, the bytes of an encoded image, or a [height, width, C] uint8 array.
Image: TypeAlias = str | os.PathLike[str] | bytes | np.ndarray
# A number from 0 to 1, or `best`.
ScoreThreshold: TypeAlias = float | str | None
BEST = "best"
# Number of class names that `repr` lists.
_NAMES_SHOWN = 5
_Step = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


def _convert_to_list(images: Image | Iterable[Image]) -> list[Image]:
    """Returns one or several images as a list; an array without channels counts as one image, and is an error later."""
    if isinstance(images, str | bytes | os.PathLike) or (isinstance(images, np.ndarray) and images.ndim in (2, 3)):
        return [images]
    return list(images)


class ImagePredictor:
    """A trained model that predicts images of any size.

    Attributes:
      config: the configuration that the model was trained with.
      task: the model's task, which defines the inputs and outputs.
      source: path of the checkpoint or SavedModel with the weights.
    """

    def __init__(
        self,
        config: schema.ExperimentConfig,
        task: SegmentationTask,
        source: str,
        step: _Step,
        score_threshold: float | None = None,
    ) -> None:
        self.config = config
        self.task = task
        self.source = source
        self._step = step
        self._score_threshold = score_threshold

    @property
    def class_names(self) -> list[str]:
        """The names of the classes in the order of their ids."""
        return self.task.classes.names

    @property
    def num_channels(self) -> int:
        """The number of channels of the images."""
        return int(self.task.task_config.model.num_channels)

    def __repr__(self) -> str:
        """Returns for example `<Predictor: maskrcnn, 3 classes (cup, plate, spoon), from runs/objects/ckpt-900>`."""
        names = self.class_names
        listed = ", ".join(names[:_NAMES_SHOWN]) + ", ..." * (len(names) > _NAMES_SHOWN)
        return f"<{type(self).__name__}: {self.config.architecture}, {len(names)} classes ({listed}), from {self.source}>"

    def __call__(self, image: Image) -> Any:
        """Predicts one image.

        Args:
          image: the path of a file, the bytes of an encoded image, or a [height, width, C] uint8 array, RGB if C is 3.

        Returns:
          The prediction of the image, see `predict`.

        Raises:
          OSError: the file does not exist.
          ValueError: the file or the array is not an image.
        """
        return self.predict([image])[0]

    def read(self, image: Image) -> np.ndarray:
        """Decodes a file or its bytes to [height, width, C] uint8 pixels; C is `task.model.num_channels`. Returns arrays unchanged.

        Files are decoded like in the converters, see `image_channels`. In images with more than 8 bits, the values of black and
        white are those that the model was trained with (`task.pixel_range`).

        Raises:
          OSError: the file does not exist.
          ValueError: the file or the array is not an image.
        """
        if not isinstance(image, np.ndarray):
            settings = self.task.task_config
            data = image if isinstance(image, bytes) else os.fspath(image)
            return image_channels.decode(data, self.num_channels, pixel_range=settings.pixel_range).pixels
        if image.ndim != 3 or image.shape[2] != self.num_channels or image.dtype != np.uint8 or not image.size:
            wanted = f"uint8 (height, width, {self.num_channels})" + ", RGB" * (self.num_channels == image_channels.RGB)
            raise ValueError(f"the image is an array of {image.dtype} {image.shape}, but must be {wanted}")
        return image

    def draw(self, image: Image, prediction: Any) -> np.ndarray:
        """Draws the prediction on its image, like the overlays of `predict.py`; returns [height, width, 3] uint8 pixels."""
        return self.task.predictions.draw(prediction, self.read(image))

    def predict(
        self,
        images: Image | Iterable[Image],
        tile: int | None = None,
        overlap: float | None = None,
        tile_scale: float | None = None,
    ) -> list[Any]:
        """Predicts several images in one batch, or large images as overlapping windows.

        Args:
          images: one image (see `__call__`), or several of any sizes. All images and all outputs of the network are in memory at
            the same time, so predict thousands of images in several calls.
          tile: side of the windows in pixels of the image; 0 predicts whole images, reduced to the network's canvas. By default, it
            is the value with which the run was evaluated (`task.evaluation.tile`).
          overlap: smallest part of a window's side that neighbouring windows share; an object smaller than this is always seen as
            a whole. By default `task.evaluation.tile_overlap`.
          tile_scale: factor by which windows are resized before prediction; by default `task.evaluation.tile_scale`.

        Returns:
          The prediction of each image in the image's size: for DeepLab the class ids, [height, width] uint8; for Mask R-CNN
          `tpuseg.Objects`.

        Raises:
          OSError: the file does not exist.
          ValueError: a file or an array is not an image, or `tile`, `overlap` or `tile_scale` are out of range.
        """
        tiling = self.tiling(tile, overlap, tile_scale)
        if tiling is not None:
            return [self._predict_tiled(image, tiling) for image in _convert_to_list(images)]
        arrays = [self.read(image) for image in _convert_to_list(images)]
        if not arrays:
            return []
        outputs = self.outputs(self.task.predictions.inputs(arrays))
        return [self.threshold(found) for found in self.task.predictions.finish(outputs, arrays)]

    def tiling(
        self, tile: int | None = None, overlap: float | None = None, tile_scale: float | None = None
    ) -> windows.Tiling | None:
        """Returns how images are divided; None if they are predicted as a whole. For the arguments, see `predict`."""
        trained = self.task.task_config.evaluation
        size = trained.tile if tile is None else tile
        if not size:
            return None
        return windows.Tiling(
            size,
            trained.tile_overlap if overlap is None else overlap,
            trained.tile_scale if tile_scale is None else tile_scale,
        )

    def _predict_tiled(self, image: Image, tiling: windows.Tiling) -> Any:
        with self.open(self.read(image) if isinstance(image, np.ndarray) else image) as source:
            return self.threshold(tiled.predict(self, source, tiling))

    def open(self, image: Image, bands: Sequence[int] = ()) -> large_images.ImageSource:
        """Opens an image whose windows are read, without decoding all of it if its format allows this.

        Args:
          image: see `__call__`.
          bands: numbers of the bands of a TIFF, from 1; the first ones by default.

        Raises:
          OSError: the file does not exist.
          ValueError: the file is not an image.
        """
        return large_images.open_image(image, self.num_channels, self.task.task_config.pixel_range, bands)

    def threshold(self, prediction: Any) -> Any:
        """Returns a prediction without the objects below the score threshold of `load`, if one was given."""
        return prediction if self._score_threshold is None else prediction.above(self._score_threshold)

    def outputs(self, batch: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
        """Returns the network's outputs for a batch of the evaluation data or of `Predictions.inputs`."""
        inputs = {name: value for name, value in batch.items() if name != WINDOW}
        outputs = {**self._step(inputs), **numbers(batch)}
        return {name: value.numpy() for name, value in outputs.items()}


class Predictor(ImagePredictor):
    """The model of a run, restored from one of its checkpoints."""

    def __init__(
        self, model_dir: str, checkpoint: str = "", score_threshold: ScoreThreshold = None, precision: str | None = None
    ) -> None:
        """Builds the model of a run and restores it.

        Args:
          model_dir: the run's model directory, which contains its configuration.
          checkpoint: a checkpoint or folder; if empty, the run's best checkpoint, or the newest if there is no best one.
          score_threshold: minimum score of the objects that are returned and drawn; see `load`.
          precision: data type of the network's computations, instead of the run's `distribution.mixed_precision_dtype`.

        Raises:
          ValueError: the run or checkpoint does not exist.
        """
        path = run_directory.config_path(model_dir)
        self.checkpoint_path = checkpoints.find(checkpoint or model_dir)
        score_threshold = _find_score_threshold(score_threshold, os.path.join(model_dir, run_directory.REPORT_FOLDER))
        override = f"runtime.mixed_precision_dtype={precision}" if precision else ""
        self.config = _load_configuration(path, score_threshold, override, lowers_threshold=True)
        task = _create_task(self.config, model_dir)
        with distribution.precision(self.config.runtime):
            self.model = task.build_model()
        self._restore(task)
        step = tf.function(lambda inputs: task.validation_step(inputs, self.model), input_signature=[input_spec(self.config)])
        super().__init__(self.config, task, self.checkpoint_path, step, score_threshold)

    def _restore(self, task: SegmentationTask) -> None:
        trainer_config = self.config.trainer
        if checkpoints.is_best(self.checkpoint_path) or trainer_config.optimizer_config.ema is None:
            checkpoints.restore(tf.train.Checkpoint(model=self.model), self.checkpoint_path)
            return
        # In a best checkpoint, the model's weights are the averages; in other checkpoints, the averages are in the optimizer.
        optimizer = task.create_optimizer(trainer_config.optimizer_config, self.config.runtime)
        average = moving_average(optimizer)
        if average is None:
            raise ValueError(f"{self.checkpoint_path}: the optimizer has no moving average")
        average.shadow_copy(self.model)
        checkpoints.restore(tf.train.Checkpoint(model=self.model, optimizer=optimizer), self.checkpoint_path)
        swap_weights(average)


class ExportedPredictor(ImagePredictor):
    """A SavedModel that this project exported; images are prepared and outputs are processed in the same way as for a run."""

    def __init__(self, path: str, score_threshold: ScoreThreshold = None) -> None:
        """Loads the SavedModel.

        Args:
          path: folder of the SavedModel.
          score_threshold: minimum score of the objects that are returned and drawn; see `load`.

        Raises:
          ValueError: the SavedModel was not exported by this project, or cannot be read.
        """
        if not is_saved_model(path):
            raise ValueError(f"{path} is not a SavedModel; official/export.py writes one")
        assets = os.path.join(path, ASSETS_FOLDER)
        written = os.path.join(assets, experiments.CONFIG_FILE)
        if not files.exists(written):
            raise ValueError(
                f"{path} is a SavedModel without {ASSETS_FOLDER}/{experiments.CONFIG_FILE}, which official/export.py writes"
            )
        score_threshold = _find_score_threshold(score_threshold, assets)
        settings = _load_configuration(written, score_threshold)
        try:
            # The module is kept in an attribute, because its variables are deleted with it.
            with without_gradient_warnings():
                self._module = tf.saved_model.load(checkpoint_files.readable_folder(path))
        except (OSError, RuntimeError, KeyError, ValueError, tf.errors.OpError) as error:
            raise ValueError(f"{path} is a damaged SavedModel: {str(error).strip().splitlines()[0][:200]}") from error
        super().__init__(settings, _create_task(settings, assets), path, self._run, score_threshold)

    def _run(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        network = dict(inputs)
        index = network.pop("index")
        return {**self._module.network(network), "index": index}


@contextlib.contextmanager
def without_gradient_warnings() -> Iterator[None]:
    """Suppresses the warning that the custom gradient of ROI align is not in the file, because a SavedModel is not trained."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def input_spec(settings: schema.ExperimentConfig) -> dict[str, tf.TensorSpec]:
    """Returns the specs of the network's inputs for any number of images (see `Predictions.inputs`)."""
    architecture = registry.architectures.get(settings.architecture)
    placed = tf.function(lambda image: architecture.place(image, settings.task)).get_concrete_function(
        tf.TensorSpec([None, None, settings.task.model.num_channels], tf.uint8)
    )
    spec = {name: tf.TensorSpec([None, *output.shape], output.dtype) for name, output in placed.structured_outputs.items()}
    return {**spec, "index": tf.TensorSpec([None], tf.int64)}


def _create_task(settings: schema.ExperimentConfig, folder: str) -> SegmentationTask:
    return registry.architectures.get(settings.architecture).task_class(settings.task, logging_dir=folder)


def _load_configuration(
    path: str, score_threshold: float | None, override: str = "", lowers_threshold: bool = False
) -> schema.ExperimentConfig:
    """Reads a run's configuration, and sets the score threshold.

    Args:
      path: path of the YAML file.
      score_threshold: minimum score of objects; None keeps the thresholds of the configuration.
      override: further changes of the form `key=value,...`.
      lowers_threshold: whether the threshold of the network, which is not built yet, may be lowered to `score_threshold`.
    """
    if score_threshold is None:
        return experiments.load(path, params_override=override).config
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"the score threshold is {score_threshold}, but must be between 0 and 1")
    trained = experiments.load(path).config
    architecture = registry.architectures.get(trained.architecture)
    lowest = architecture.network_score_threshold(trained)
    if score_threshold < lowest and not lowers_threshold:
        raise ValueError(
            f"the score threshold is {score_threshold}, but the exported network drops everything below {lowest}; export it"
            " from a run whose task.model.detection.score_threshold is lower"
        )
    settings = architecture.with_score_threshold(trained, score_threshold)
    values = [override, *(f"{key}={value}" for key, value in settings.items())]
    return experiments.load(path, params_override=",".join(filter(None, values))).config


def is_saved_model(path: str) -> bool:
    """Returns whether a folder is a SavedModel."""
    return any(files.exists(os.path.join(path, name)) for name in _SAVED_MODEL)


def model_dir_of(checkpoint: str) -> str:
    """Returns the model directory that a checkpoint belongs to: its folder or the parent, whichever has a configuration.

    Args:
      checkpoint: a prefix (`.../ckpt-1200`) or a folder.

    Raises:
      ValueError: there is no such folder.
    """
    found = checkpoints.find_beside(checkpoint, experiments.CONFIG_FILE)
    if found:
        return os.path.dirname(found)
    raise ValueError(
        f"{checkpoint} is not a SavedModel, and neither {' nor '.join(checkpoints.folders_of(checkpoint))} has the"
        f" {experiments.CONFIG_FILE} of a run; give the run's model directory"
    )


def _find_score_threshold(score_threshold: ScoreThreshold, folder: str) -> float | None:
    """Returns the number of a score threshold; `best` is that of the evaluation whose files are in a folder."""
    if not isinstance(score_threshold, str):
        return score_threshold
    if score_threshold != BEST:
        raise ValueError(f"the score threshold is `{score_threshold}`, but must be a number between 0 and 1, or `{BEST}`")
    path = os.path.join(folder, writing.SCORE_THRESHOLDS)
    if not files.exists(path):
        raise ValueError(f"{path} does not exist; official/evaluate.py writes it for a run; or give the threshold as a number")
    overall = files.read_json(path).get("overall")
    if overall is None:
        raise ValueError(f"{path}: no detection of the evaluation is right, so there is no best score threshold; give a number")
    return float(overall)


def load(path: str | os.PathLike[str], score_threshold: ScoreThreshold = None) -> ImagePredictor:
    """Loads a trained model.

    Args:
      path: a model directory (its best checkpoint is loaded), a checkpoint (`runs/mine/ckpt-1200`), or a SavedModel that
        `official/export.py` wrote.
      score_threshold: for Mask R-CNN, the minimum score of the objects that are returned and drawn; `best` is the one with the
        largest F1 in the last evaluation (`report/score_thresholds.json`). With None, all objects of the network are returned
        (see `task.model.detection.score_threshold`), and those above `task.evaluation.drawn_score` are drawn.

    Raises:
      ValueError: there is no model at the path.
    """
    path = os.fspath(path)
    if is_saved_model(path):
        return ExportedPredictor(path, score_threshold)
    if files.exists(os.path.join(path, experiments.CONFIG_FILE)):
        return Predictor(path, "", score_threshold)
    if not files.exists(path) and not files.exists(path + ".index"):
        raise ValueError(f"there is no model at {path}: neither a model directory, nor a checkpoint, nor a SavedModel")
    return Predictor(model_dir_of(path), path, score_threshold)
