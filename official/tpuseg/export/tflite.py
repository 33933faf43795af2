"""Models as TFLite files: a uint8 image of one size in; classes or objects out.

Shapes: H W the network's canvas, K classes, D detections, S the side of a mask.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg import registry
from tpuseg.deeplab.prediction import class_scores
from tpuseg.export import static_graph
from tpuseg.export.folders import replace_folder
from tpuseg.inference import predictors
from tpuseg.io import files, image_channels
from tpuseg.ops import images

MODEL_FILE, DESCRIPTION_FILE = "model.tflite", "model.json"
# More images do not change the ranges that are found; each takes as long as a prediction.
_MOST_CALIBRATION = 100
_FEWEST_CALIBRATION = 8


def export(predictor: predictors.Predictor, output_dir: str, kind: str, calibration: Sequence[str]) -> None:
    """Writes `model.tflite`, and `model.json`, which says what it takes and gives.

    Args:
      predictor: the trained model, in float32.
      output_dir: its folder; an exported model that is there is replaced.
      kind: `float32`, `float16` (weights of half the size) or `int8` (weights and computation).
      calibration: for int8, files of images like those that it will see.

    Raises:
      ValueError: this form is unsupported for the model, or the calibration set is missing.
    """
    check(predictor, kind, calibration)
    content = _converted(predictor, kind, calibration)
    with replace_folder(output_dir, is_exported) as folder:
        files.write_bytes(os.path.join(folder, MODEL_FILE), content)
        files.write_json(os.path.join(folder, DESCRIPTION_FILE), description(predictor, kind))


def is_exported(folder: str) -> bool:
    """Returns whether a folder is one that `export` wrote."""
    return files.exists(os.path.join(folder, MODEL_FILE))


def check(predictor: predictors.Predictor, kind: str, calibration: Sequence[str]) -> None:
    """Raises ValueError for what there is no TFLite model of."""
    settings = predictor.config
    if settings.architecture == "maskrcnn":
        if kind == "int8":
            raise ValueError(
                "there is no int8 export of maskrcnn: eight bits do not tell the coordinates of boxes apart; use"
                " --tflite_type=float16"
            )
        return
    evaluation = settings.task.evaluation
    if list(evaluation.scales) != [1.0] or evaluation.flip:
        raise ValueError(
            "the run evaluates at several scales or mirrored (task.evaluation.scales, .flip), which a TFLite model does not do; use"
            " --format=saved_model"
        )
    if kind == "int8" and len(calibration) < _FEWEST_CALIBRATION:
        raise ValueError(
            f"--tflite_type=int8 needs --calibration with at least {_FEWEST_CALIBRATION} images like those that the model will"
            f" see, not {len(calibration)}: they tell the ranges of its values"
        )


def _canvas(predictor: predictors.Predictor) -> tuple[int, int]:
    height, width = registry.export_module(predictor.config.architecture).canvas(predictor.config.task)
    return height, width


def description(predictor: predictors.Predictor, kind: str) -> dict[str, Any]:
    """Returns what a program needs to know about the file."""
    height, width = _canvas(predictor)
    image = {"shape": [1, height, width, predictor.num_channels], "type": "uint8", **_about_channels(predictor)}
    if predictor.config.architecture == "maskrcnn":
        size = {"shape": [1, 2], "type": "float32", "meaning": "height and width of the image in `images`"}
        inputs = {"images": image, "image_sizes": size}
        outputs = {
            "boxes": "[1, D, 4] float32 y0 x0 y1 x1 in pixels of `images`",
            "scores": "[1, D] float32, the best first",
            "classes": "[1, D] int32 class ids",
            "num_detections": "[1] int32, how many of the D are objects",
            "masks": "[1, D, S, S] float32 probabilities in the boxes' frames",
        }
    else:
        inputs, outputs = {"images": image}, {"classes": f"[1, {height}, {width}] uint8 class id of each pixel"}
    return {"inputs": inputs, "outputs": outputs, "weights": kind, "class_names": predictor.class_names}


def _about_channels(predictor: predictors.Predictor) -> dict[str, Any]:
    """Returns what the channels of the input are, and what lies beside an image."""
    count, fill = predictor.num_channels, _padding(predictor)
    colors = "RGB" if count == image_channels.RGB else f"{count} channels, in the order of the images' files"
    return {"colors": colors, "padding": fill[0] if len(set(fill)) == 1 else list(fill)}


def _padding(predictor: predictors.Predictor) -> tuple[int, ...]:
    """Returns what lies beside an image, one value a channel."""
    values: tuple[int, ...] = registry.export_module(predictor.config.architecture).padding(predictor.config.task)
    return values


def _converted(predictor: predictors.Predictor, kind: str, calibration: Sequence[str]) -> bytes:
    if predictor.config.architecture == "maskrcnn":
        function = _maskrcnn(predictor)
    else:
        # The converter quantises an input of floats; integers, which the graph would make floats of, it leaves alone.
        function = _deeplab(predictor, tf.float32 if kind == "int8" else tf.uint8)
    holder = tf.Module()
    holder.weights = list(function.variables)
    key = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    # A layer's own gradients cannot be saved, and the converter, left to save by itself, would drop the names of the outputs.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(holder, folder, signatures={key: function}, options=options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[key])
        if kind != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "int8":
            converter.representative_dataset = lambda: _placed(predictor, calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        return bytes(converter.convert())


def _deeplab(predictor: predictors.Predictor, dtype: tf.DType) -> Any:
    """Returns the concrete function from an image, in the given type, to its classes."""
    height, width = _canvas(predictor)
    spec = tf.TensorSpec([1, height, width, predictor.num_channels], dtype, name="images")

    def classes(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = class_scores(predictor.model, batch, predictor.config.task.evaluation)
        return {"classes": tf.cast(tf.argmax(_enlarged(logits, height, width), axis=-1, output_type=tf.int32), tf.uint8)}

    return tf.function(classes, input_signature=[spec]).get_concrete_function()


def _maskrcnn(predictor: predictors.Predictor) -> Any:
    """Returns the concrete function from an image and its size to its objects."""
    image = tf.TensorSpec([1, *_canvas(predictor), predictor.num_channels], tf.uint8, name="images")
    size = tf.TensorSpec([1, 2], tf.float32, name="image_sizes")

    def objects(batch: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        found = predictor.model(batch, sizes, training=False)
        num_detections = tf.reduce_sum(tf.cast(found.pop("valid"), tf.int32), axis=1)
        return {**found, "num_detections": num_detections}

    # As for XLA: with static shapes, and without sparse matrices, of which TFLite has none.
    function = tf.function(objects, input_signature=[image, size], jit_compile=True)
    return static_graph.freeze(function.get_concrete_function())


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


def _placed(predictor: predictors.Predictor, calibration: Sequence[str]) -> Iterator[list[tf.Tensor]]:
    """Yields the network's inputs for calibration: images that lie evenly in a list, each with one black and one white pixel.

    The quantised input reaches from the smallest to the largest value that is seen. Without white, as in X-ray or night images,
    a step of it would be less than a shade, and the network would see every uint8 image darker than it is. Two pixels in a
    corner leave the ranges of the later layers nearly as they are, which whole images of one shade might not.
    """
    canvas, fill = _canvas(predictor), _padding(predictor)
    corner = np.array([[0, 0, 0], [0, 0, 1]])
    extremes = tf.repeat([[0.0], [255.0]], len(fill), axis=1)
    places = np.linspace(0, len(calibration) - 1, min(len(calibration), _MOST_CALIBRATION)).round().astype(int)
    for place in places:
        image = tf.constant(predictor.read(calibration[place]))
        placed = tf.cast(images.place_on_canvas(image, canvas, fill), tf.float32)[None]
        yield [tf.tensor_scatter_nd_update(placed, corner, extremes)]
