"""Comparing the scores of a checkpoint, `predict.py` and an exported model on validation records."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tpuseg import registry
from tpuseg.data import pipeline, records
from tpuseg.export import tflite
from tpuseg.inference import predictors
from tpuseg.training import class_lists
from tpuseg.training.task import SegmentationTask

CHECKPOINT, PREDICT, EXPORT = "checkpoint", "predict", "export"
# A larger difference of a metric between float32 forms of a network is an error; rounding changes single pixels at class borders.
TOLERANCE = 0.001
_BATCH_SIZE = 4
_Scores = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class Report:
    """The scores of a checkpoint, of `predict.py` and of an exported model for the same images.

    Attributes:
      scores: metrics by their names, for each of `checkpoint` (computed by evaluation), `predict` (computed from the encoded images
        like in `official/predict.py`) and `export` (computed by the exported model from the encoded images).
      num_images: number of scored images.
    """

    scores: dict[str, _Scores]
    num_images: int

    def difference(self, name: str) -> float:
        """Returns the largest difference of a metric between `name` and the checkpoint; infinite if only one of them is None."""
        wanted = self.scores[CHECKPOINT]
        return max(_compute_difference(wanted[metric], value) for metric, value in self.scores[name].items())

    def table(self) -> str:
        """Returns the scores and their largest differences from those of the checkpoint as lines of text."""
        metrics = list(self.scores[CHECKPOINT])
        width = max(len(name) for name in self.scores)
        lines = [f"{'':{width}}  " + "  ".join(f"{metric:>14}" for metric in metrics) + "  largest difference"]
        for name, values in self.scores.items():
            shown = "  ".join(f"{'-' if values[metric] is None else f'{values[metric]:.6f}':>14}" for metric in metrics)
            lines.append(f"{name:{width}}  {shown}  {self.difference(name):18.6f}")
        return "\n".join(lines)


def _compute_difference(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return 0.0 if first is second else float("inf")
    return abs(first - second)


def verify(predictor: predictors.Predictor, exported: str, pattern: str) -> Report:
    """Scores a checkpoint, its predictions and its export on the same records.

    Args:
      predictor: the trained model, in float32.
      exported: folder of the SavedModel or TFLite file that was exported from it.
      pattern: file pattern of the records.

    Raises:
      ValueError: there are no such records, or they have another kind or other classes than the model.
    """
    task = _create_task(predictor, pattern)
    run = _load_tflite(predictor, exported) if tflite.is_exported(exported) else _load_saved_model(predictor, exported)
    try:
        scores = {
            CHECKPOINT: _score_checkpoint(task, predictor),
            PREDICT: _score(task, lambda encoded: predictor(records.to_image_file(encoded, predictor.num_channels))),
            EXPORT: _score(task, run),
        }
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        explanation = task.explain_input_error(error)
        if explanation is None:
            raise
        raise ValueError(explanation) from error
    return Report(scores, task.num_evaluation_examples())


def _create_task(predictor: predictors.Predictor, pattern: str) -> SegmentationTask:
    """Creates a task whose evaluation data are the records, which must have the classes of the model."""
    settings = predictor.config.task
    data = settings.validation_data.replace(input_path=pattern, tfds_name="", generate="", global_batch_size=_BATCH_SIZE)
    model_dir = predictor.task.logging_dir
    task: SegmentationTask = registry.architectures.get(predictor.config.architecture).task_class(
        settings.replace(validation_data=data), logging_dir=model_dir
    )
    task.prepare_data(train=False)
    task.classes.check_evaluated(class_lists.of_run(model_dir))
    return task


def _score_checkpoint(task: SegmentationTask, predictor: predictors.Predictor) -> _Scores:
    """Returns the scores of an evaluation, which decodes the images in the graph and predicts them in batches."""
    state = task.begin_evaluation()
    for batch in task.evaluation_inputs(None):
        state.add_batch(predictor.outputs(batch))
    return state.scores()


def _score(task: SegmentationTask, predict: Callable[[bytes], Any]) -> _Scores:
    """Returns the scores of a function that predicts an encoded image."""
    state = task.begin_evaluation()
    paths = pipeline.find_files(task.task_config.validation_data, task.data_dir)
    for index, (_, encoded) in enumerate(records.read_images(paths)):
        state.add(index, predict(encoded))
    return state.scores()


def _load_saved_model(predictor: predictors.Predictor, exported: str) -> Callable[[bytes], Any]:
    """Returns a function that predicts one encoded image with a SavedModel: by its signature `serving_default`, or by windows."""
    if predictor.config.task.evaluation.tile:
        model = predictors.ExportedPredictor(exported)
        return lambda encoded: model(records.to_image_file(encoded, predictor.num_channels))
    architecture = registry.architectures.get(predictor.config.architecture)
    with predictors.without_gradient_warnings():
        loaded = tf.saved_model.load(exported)

    def predict(encoded: bytes) -> Any:
        # Called through the module, because its variables are deleted with it.
        outputs = loaded.signatures["serving_default"](image_bytes=tf.constant([encoded]))
        return architecture.prediction({name: value.numpy()[0] for name, value in outputs.items()})

    return predict


def _load_tflite(predictor: predictors.Predictor, exported: str) -> Callable[[bytes], Any]:
    """Returns a function that runs a TFLite file on one encoded image, placed on the canvas as described in docs/export.md."""
    architecture, settings = registry.architectures.get(predictor.config.architecture), predictor.config.task
    if settings.evaluation.tile:
        raise ValueError("the verification of TFLite files does not support task.evaluation.tile; verify a SavedModel")
    run = tf.lite.Interpreter(os.path.join(exported, tflite.MODEL_FILE)).get_signature_runner()
    takes = run.get_input_details()

    def predict(encoded: bytes) -> Any:
        image = predictor.read(records.to_image_file(encoded, predictor.num_channels))
        inputs_of_one = architecture.place(tf.constant(image), settings)
        placed = {"images" if name == "image" else f"{name}s": value for name, value in inputs_of_one.items()}
        inputs = {name: placed[name].numpy()[None].astype(takes[name]["dtype"]) for name in takes}
        return architecture.tflite_prediction(run(**inputs), placed, (image.shape[0], image.shape[1]), settings)

    return predict
