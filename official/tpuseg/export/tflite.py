"""DeepLab as a TFLite file: uint8 pictures of one size in, classes out.

Shapes: H W the network's canvas, K classes.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tpuseg import files, images, serving, zoo
from tpuseg.deeplab.prediction import class_scores
from tpuseg.export.folders import replaced

MODEL_FILE, DESCRIPTION_FILE = "model.tflite", "model.json"
# More pictures do not change the ranges that are found; each takes as long as a prediction.
_MOST_CALIBRATION = 100
_FEWEST_CALIBRATION = 8


def export(predictor: serving.Predictor, output_dir: str, kind: str, calibration: Sequence[str]) -> None:
    """Writes `model.tflite`, and `model.json`, which says what it takes and gives.

    Args:
      predictor: the trained model, in float32.
      output_dir: its folder; an exported model that is there is replaced.
      kind: `float32`, `float16` (weights of half the size) or `int8` (weights and computation).
      calibration: for int8, files of pictures like those that it will see.

    Raises:
      ValueError: the model cannot be had in this form, or the calibration set is missing.
    """
    check(predictor, kind, calibration)
    content = _converted(predictor, kind, calibration)
    with replaced(output_dir, is_exported) as folder:
        files.write_bytes(os.path.join(folder, MODEL_FILE), content)
        files.write_json(os.path.join(folder, DESCRIPTION_FILE), description(predictor, kind))


def is_exported(folder: str) -> bool:
    """Returns whether a folder is one that `export` wrote."""
    return files.exists(os.path.join(folder, MODEL_FILE))


def check(predictor: serving.Predictor, kind: str, calibration: Sequence[str]) -> None:
    """Raises ValueError for what there is no TFLite model of."""
    settings = predictor.config
    if settings.architecture != "deeplab":
        raise ValueError(
            f"there is no TFLite export of {settings.architecture}: its ROI align multiplies with a sparse matrix, for which TFLite"
            " has no operation; use --format=saved_model"
        )
    evaluation = settings.task.evaluation
    if list(evaluation.scales) != [1.0] or evaluation.flip:
        raise ValueError(
            "the run evaluates at several scales or mirrored (task.evaluation.scales, .flip), which a TFLite model does not do; use"
            " --format=saved_model"
        )
    if kind == "int8" and len(calibration) < _FEWEST_CALIBRATION:
        raise ValueError(
            f"--tflite_type=int8 needs --calibration with at least {_FEWEST_CALIBRATION} pictures like those that the model will"
            f" see, not {len(calibration)}: they tell the ranges of its values"
        )


def description(predictor: serving.Predictor, kind: str) -> dict[str, object]:
    """Returns what a program needs to know about the file."""
    height, width = zoo.export_module(predictor.config.architecture).canvas(predictor.config.task)
    return {
        "input": {"shape": [1, height, width, 3], "type": "uint8", "colors": "RGB", "padding": images.PAD_VALUE},
        "output": {"shape": [1, height, width], "type": "uint8", "meaning": "class id of each pixel"},
        "weights": kind,
        "class_names": predictor.class_names,
    }


def _converted(predictor: serving.Predictor, kind: str, calibration: Sequence[str]) -> bytes:
    task_config = predictor.config.task
    height, width = zoo.export_module(predictor.config.architecture).canvas(task_config)
    # The converter quantises an input of floats; integers, which the graph would make floats of, it leaves alone.
    spec = tf.TensorSpec([1, height, width, 3], tf.float32 if kind == "int8" else tf.uint8, name="images")

    def classes(pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = class_scores(predictor.model, pictures, task_config.evaluation)
        return {"classes": tf.cast(tf.argmax(_enlarged(logits, height, width), axis=-1, output_type=tf.int32), tf.uint8)}

    function = tf.function(classes, input_signature=[spec]).get_concrete_function()
    # The converter saves what it is given. A Keras model would have each of its layers traced for that.
    holder = tf.Module()
    holder.weights = list(predictor.model.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        converter.representative_dataset = lambda: _placed(calibration, (height, width))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    return converter.convert()


def _enlarged(logits: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns [1, H, W, K] from [1, h, w, K], as `layers.resize.bilinear_resize`, but as the operation that TFLite has for it."""
    (rows, columns), pairs = logits.shape[1:3], []
    for size_in, size_out in ((rows, height), (columns, width)):
        pairs.append(size_in > 1 and size_out % 2 == 1 and (size_out - 1) % (size_in - 1) == 0)
    if pairs[0] != pairs[1]:
        raise ValueError(
            f"the network's input is {height}x{width}, of which one side is a multiple of 4 and the other is not; choose"
            " task.evaluation.input_size with both sides even, or both a multiple of 4 plus 1"
        )
    return tf.raw_ops.ResizeBilinear(
        images=logits, size=tf.constant([height, width]), align_corners=pairs[0], half_pixel_centers=not pairs[0]
    )


def _placed(calibration: Sequence[str], canvas: tuple[int, int]) -> Iterator[list[tf.Tensor]]:
    """Yields the network's inputs for pictures that lie evenly in a list."""
    places = np.linspace(0, len(calibration) - 1, min(len(calibration), _MOST_CALIBRATION)).round().astype(int)
    for place in places:
        picture = tf.constant(images.read_rgb(calibration[place]))
        yield [tf.cast(images.place_on_canvas(picture, canvas), tf.float32)[None]]
