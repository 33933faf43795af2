"""Model directories with untrained networks whose outputs have some spread, and images to try them on."""

import os

import numpy as np
import PIL.Image
import tensorflow as tf
import tf_keras
import tiny_backbone

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.io import files

SMALL = {
    "deeplab": f"{tiny_backbone.OVERRIDE},task.evaluation.input_size=[129,161],"
    "task.model.aspp.num_filters=16,task.model.decoder.num_filters=16",
    "maskrcnn": f"{tiny_backbone.OVERRIDE},task.model.input_size=[128,192],"
    "task.model.fpn.num_filters=16,task.model.box_head.dense_units=32,task.model.mask_head.num_filters=16,"
    "task.model.detection.score_threshold=0.1,task.model.rpn.num_proposals_test=40,task.model.short_side=100,"
    "task.model.long_side=180",
}


def write_run(architecture, folder, override=""):
    """Writes a model directory as a run does, without training."""
    settings = experiments.load(f"{architecture}_shapes", params_override=SMALL[architecture] + override).config
    tf_keras.utils.set_random_seed(3)
    task = registry.architectures.get(architecture).task_class(settings.task, logging_dir=str(folder))
    model = task.build_model()
    for variable in model.trainable_variables:
        # Last layers begin near zero, so that all scores would be alike.
        if "kernel" in variable.name and ("classifier" in variable.name or "classes" in variable.name):
            variable.assign(variable * (100.0 if "classifier" in variable.name else 60.0))
        if "objectness" in variable.name or "deltas" in variable.name:
            variable.assign(variable * 10.0)
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder), 1).save(checkpoint_number=1)
    files.write_text(os.path.join(folder, experiments.CONFIG_FILE), experiments.to_yaml(settings))
    task.classes.write()
    return str(folder)


def blobs(size, seed):
    """Returns [height, width, 3] uint8 smooth colours."""
    random = np.random.default_rng(seed)
    small = PIL.Image.fromarray(random.integers(0, 256, (7, 9, 3)).astype(np.uint8))
    return np.asarray(small.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC))
