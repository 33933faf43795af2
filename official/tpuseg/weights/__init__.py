"""Initial weights: from a checkpoint of this project or from a file of another library."""

import os

import tensorflow as tf
import tf_keras

from tpuseg.weights import keras_applications, own
from tpuseg.weights.report import Report

_HDF5_ENDINGS = (".h5", ".hdf5")


def load_initial(model: tf_keras.Model, path: str) -> Report:
    """Loads what fits of a file into a model.

    Args:
      model: with its variables created.
      path: a checkpoint of this project (prefix or folder), or a Keras Applications HDF5 file for the model's backbone.

    Returns:
      What was restored and what was not.

    Raises:
      ValueError: there is no such file, it is of an unknown kind, or nothing in it matches the model.
    """
    require_known(path)
    report = keras_applications.load(model.backbone, path) if path.endswith(_HDF5_ENDINGS) else own.load(model, path)
    report.require_match()
    return report


def require_known(path: str) -> None:
    """Raises ValueError if there is no such file, or it is of an unknown kind; reads nothing of it."""
    is_checkpoint = tf.io.gfile.isdir(path) or tf.io.gfile.exists(path + ".index")
    if not is_checkpoint and not tf.io.gfile.exists(path):
        raise ValueError(f"init_checkpoint: there is no checkpoint or file {path} (from {os.getcwd()})")
    if not is_checkpoint and not path.endswith(_HDF5_ENDINGS):
        raise ValueError(
            f"init_checkpoint: {path} is of no known kind; give a checkpoint (a folder, or its name without .index) or a Keras"
            f" Applications file ({' or '.join(_HDF5_ENDINGS)})"
        )
