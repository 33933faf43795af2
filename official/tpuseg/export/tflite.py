"""Exporting models as TFLite files, whose input is a uint8 image of a fixed size and whose outputs are classes or objects.

Shapes: H and W are the size of the network's canvas, K is the number of classes, D of detections, and S is the side of a mask.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg import registry
from tpuseg.export.folders import replace_folder
from tpuseg.inference import predictors
from tpuseg.io import files, image_channels
from tpuseg.ops import images
from tpuseg.training.architecture import Architecture
from tpuseg.utils.messages import format_count

MODEL_FILE, DESCRIPTION_FILE = "model.tflite", "model.json"
# More images hardly change the measured ranges, and each takes as long as a prediction.
_MOST_CALIBRATION = 100
_FEWEST_CALIBRATION = 8


def export(predictor: predictors.Predictor, output_dir: str, kind: str, calibration: Sequence[str]) -> None:
    """Writes `model.tflite`, and `model.json`, which describes its inputs and outputs.

    Args:
      predictor: the trained model, in float32.
      output_dir: the folder to write; an existing exported model is replaced.
      kind: `float32`, `float16` (weights of half the size) or `int8` (weights and computation).
      calibration: for int8, image files that resemble those to be predicted.

    Raises:
      ValueError: this kind is not supported for the model, or there are not enough calibration images.
    """
    check(predictor, kind, calibration)
    content = _convert(predictor, kind, calibration)
    with replace_folder(output_dir, is_exported) as folder:
        files.write_bytes(os.path.join(folder, MODEL_FILE), content)
        files.write_json(os.path.join(folder, DESCRIPTION_FILE), description(predictor, kind))


def is_exported(folder: str) -> bool:
    """Returns whether a folder was written by `export`."""
    return files.exists(os.path.join(folder, MODEL_FILE))


def check(predictor: predictors.Predictor, kind: str, calibration: Sequence[str]) -> None:
    """Raises ValueError if the model cannot be exported to TFLite."""
    _find_architecture(predictor).check_tflite(predictor.config, kind)
    if kind == "int8" and len(calibration) < _FEWEST_CALIBRATION:
        raise ValueError(
            f"--tflite_type=int8 needs --calibration with at least {_FEWEST_CALIBRATION} images like those that the model will"
            f" process, not {len(calibration)}: they determine the ranges of its values"
        )


def _find_architecture(predictor: predictors.Predictor) -> Architecture:
    return registry.architectures.get(predictor.config.architecture)


def description(predictor: predictors.Predictor, kind: str) -> dict[str, Any]:
    """Returns the description of the file that a program needs to use it: the content of `model.json`."""
    architecture, config = _find_architecture(predictor), predictor.config.task
    height, width = architecture.canvas(config)
    image = {"shape": [1, height, width, predictor.num_channels], "type": "uint8", **_describe_channels(predictor)}
    further_inputs, outputs = architecture.tflite_signature(config)
    inputs = {"images": image, **further_inputs}
    return {"inputs": inputs, "outputs": outputs, "weights": kind, "class_names": predictor.class_names}


def _describe_channels(predictor: predictors.Predictor) -> dict[str, Any]:
    """Returns the meaning of the input's channels, and the values of the padding beside an image."""
    count, fill = predictor.num_channels, _find_architecture(predictor).padding(predictor.config.task)
    colors = "RGB" if count == image_channels.RGB else f"{format_count(count, 'channel')}, in the order of the images' files"
    return {"colors": colors, "padding": fill[0] if len(set(fill)) == 1 else list(fill)}


def _convert(predictor: predictors.Predictor, kind: str, calibration: Sequence[str]) -> bytes:
    function = _find_architecture(predictor).tflite_function(predictor.model, predictor.config.task, kind)
    holder = tf.Module()
    holder.weights = list(function.variables)
    key = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    # Custom gradients cannot be saved, and a model that the converter itself saves would lose the names of the outputs.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(holder, folder, signatures={key: function}, options=options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[key])
        if kind != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "int8":
            converter.representative_dataset = lambda: _place_images(predictor, calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        return bytes(converter.convert())


def _place_images(predictor: predictors.Predictor, calibration: Sequence[str]) -> Iterator[list[tf.Tensor]]:
    """Yields the network's inputs for calibration: evenly spaced images of the list, each with one black and one white pixel.

    The range of the quantised input is that of the calibration images. Without white pixels, as in X-ray or night images, a step
    of the quantised input would be smaller than a step of uint8, and the network would receive every uint8 image darker than it
    is. Two pixels in a corner hardly change the ranges of the later layers; whole images of one shade might change them.
    """
    architecture, config = _find_architecture(predictor), predictor.config.task
    canvas, fill = architecture.canvas(config), architecture.padding(config)
    corner = np.array([[0, 0, 0], [0, 0, 1]])
    extremes = tf.repeat([[0.0], [255.0]], len(fill), axis=1)
    places = np.linspace(0, len(calibration) - 1, min(len(calibration), _MOST_CALIBRATION)).round().astype(int)
    for place in places:
        image = tf.constant(predictor.read(calibration[place]))
        placed = tf.cast(images.place_on_canvas(image, canvas, fill), tf.float32)[None]
        yield [tf.tensor_scatter_nd_update(placed, corner, extremes)]
