"""Exporting a trained model as a SavedModel, which predicts from the bytes of an image without this project.

Shapes: B is the number of images, H and W are the size of the network's canvas, and K is the number of classes.
"""

import os
from typing import Any

import tensorflow as tf

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.data import records
from tpuseg.export import orientation
from tpuseg.export.folders import replace_folder
from tpuseg.inference import predictors
from tpuseg.io import files
from tpuseg.report import writing
from tpuseg.training.run_directory import REPORT_FOLDER

# Names of the signatures. The first takes a batch of encoded images; outputs of images with different sizes are padded at the end.
ENCODED, IMAGES, FIXED, CLASS_NAMES = "serving_default", "images", "fixed", "class_names"
# Signature for encoded images without the outputs whose size grows with that of the images times the number of objects.
COMPACT = "compact"


class Exported(tf.Module):
    """The module that is saved: the network with its variables, and the signatures."""

    def __init__(self, predictor: predictors.Predictor, fixed_size: tuple[int, int] | None = None) -> None:
        """Creates the functions.

        Args:
          predictor: the trained model.
          fixed_size: (height, width) of the images of the signature `fixed` in pixels; that of the canvas if None.
        """
        super().__init__(name="tpuseg")
        settings = predictor.config
        self._task_config = settings.task
        self._num_channels = settings.task.model.num_channels
        self._architecture = registry.architectures.get(settings.architecture)
        self._fixed_size = fixed_size or self._architecture.canvas(settings.task)
        # Not the Keras model, because saving it would trace each of its layers again, which takes minutes.
        self.weights = list(predictor.model.variables)
        self.names = tf.constant(predictor.class_names)
        spec = predictors.input_spec(settings)
        index = spec.pop("index")

        def network(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            count = tf.shape(inputs["image"])[0]
            outputs = predictor.task.validation_step({**inputs, "index": tf.zeros([count], index.dtype)}, predictor.model)
            outputs.pop("index")
            return outputs

        self.network = tf.function(network, input_signature=[spec])

    def _place(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._architecture.place(image, self._task_config)

    def _predict(self, placed: dict[str, tf.Tensor], sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._architecture.finish(self.network(placed), sizes, self._task_config)

    def _create_placed_spec(self) -> dict[str, tf.TensorSpec]:
        (spec,) = self.network.input_signature
        return {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in spec.items()}

    def images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts [B, height, width, C] uint8 images of any size, which is the same within a batch; RGB if C is 3."""
        placed = tf.map_fn(self._place, images, fn_output_signature=self._create_placed_spec())
        sizes = tf.tile(tf.shape(images)[1:3][None], [tf.shape(images)[0], 1])
        return self._predict(placed, sizes)

    def encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts [B] JPEG, PNG, BMP or GIF files of any sizes; the Exif orientation of a JPEG is applied.

        For images with another number of channels than 3, see `records.decode_image_in_range`.
        """

        def read(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
            decoded = records.decode_image_in_range(encoded, self._task_config.pixel_range, self._num_channels)
            image = orientation.upright(decoded, encoded)
            return {"size": tf.shape(image)[:2], **self._place(image)}

        spec = {"size": tf.TensorSpec([2], tf.int32), **self._create_placed_spec()}
        placed = tf.map_fn(read, image_bytes, fn_output_signature=spec)
        return self._predict(placed, placed.pop("size"))

    def compact(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts like `encoded`, without outputs that can need a gigabyte, such as masks of the image's size."""
        outputs = self.encoded(image_bytes)
        return {name: value for name, value in outputs.items() if name not in self._architecture.large_outputs}

    def class_names(self) -> dict[str, tf.Tensor]:
        """Returns the names of the classes, [K] string."""
        return {"class_names": tf.identity(self.names)}

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions of the signatures by their names."""
        images = tf.TensorSpec([None, None, None, self._num_channels], tf.uint8, name="images")
        fixed = tf.TensorSpec([None, *self._fixed_size, self._num_channels], tf.uint8, name="images")
        encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
        found = {
            ENCODED: tf.function(self.encoded, input_signature=[encoded]),
            IMAGES: tf.function(self.images, input_signature=[images]),
            FIXED: tf.function(self.images, input_signature=[fixed]),
            CLASS_NAMES: tf.function(self.class_names, input_signature=[]),
        }
        if self._architecture.large_outputs:
            found[COMPACT] = tf.function(self.compact, input_signature=[encoded])
        return {name: function.get_concrete_function() for name, function in found.items()}


def export(predictor: predictors.Predictor, output_dir: str, fixed_size: tuple[int, int] | None = None) -> None:
    """Writes a SavedModel atomically: a failure leaves no partial folder.

    Args:
      predictor: the trained model, in float32.
      output_dir: the folder to write; an existing SavedModel is replaced.
      fixed_size: see `Exported`.

    Raises:
      ValueError: the folder exists and is not a SavedModel.
    """
    module = Exported(predictor, fixed_size)
    with replace_folder(output_dir, predictors.is_saved_model) as folder:
        # Custom gradients of layers are not needed for prediction, and would keep the tensors of the forward pass.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, folder, signatures=module.signatures(), options=options)
        write_assets(predictor, os.path.join(folder, predictors.ASSETS_FOLDER))


def write_assets(predictor: predictors.Predictor, folder: str) -> None:
    """Writes the files of a model directory that prediction needs: the configuration and the names of the classes."""
    files.write_text(os.path.join(folder, experiments.CONFIG_FILE), experiments.to_yaml(predictor.config))
    predictor.task.classes.write(folder)
    thresholds = os.path.join(predictor.task.logging_dir or "", REPORT_FOLDER, writing.SCORE_THRESHOLDS)
    if files.exists(thresholds):
        files.write_json(os.path.join(folder, writing.SCORE_THRESHOLDS), files.read_json(thresholds))
