"""Model directories with untrained networks whose outputs have some spread, and images to try them on."""

import io
import os

import numpy as np
import PIL.Image
import pytest
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


@pytest.fixture(scope="session")
def run_dirs(tmp_path_factory):
    """A model directory for each architecture."""
    root = tmp_path_factory.mktemp("untrained")
    return {name: write_run(name, root / name) for name in SMALL}


@pytest.fixture(scope="session")
def mobilenet_run_dir(tmp_path_factory):
    """A model directory of DeepLab with MobileNetV2, which is made for eight bits."""
    override = ",task.model.backbone.type=mobilenet_v2,task.model.backbone.mobilenet_v2.width_multiplier=0.35"
    return write_run("deeplab", tmp_path_factory.mktemp("mobilenet") / "deeplab", override)


def blobs(size, seed):
    """Returns [height, width, 3] uint8 smooth colours."""
    random = np.random.default_rng(seed)
    small = PIL.Image.fromarray(random.integers(0, 256, (7, 9, 3)).astype(np.uint8))
    return np.asarray(small.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def encode():
    """Returns a function that makes a file's bytes."""

    def encode(image, kind="PNG", **options):
        buffer = io.BytesIO()
        PIL.Image.fromarray(image).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def photos():
    """Images that fit the canvas, that are wide, and that are larger than it."""
    return {"small": blobs((70, 111), 1), "wide": blobs((60, 320), 2), "large": blobs((701, 530), 3)}


@pytest.fixture(scope="session")
def models(run_dirs):
    """The model of each run."""
    from tpuseg.inference import predictors

    return {name: predictors.Predictor(folder) for name, folder in run_dirs.items()}


@pytest.fixture(scope="session")
def exported(models, tmp_path_factory):
    """A SavedModel of each architecture."""
    from tpuseg.export import saved_model

    root = tmp_path_factory.mktemp("exported")
    for name, predictor in models.items():
        saved_model.export(predictor, str(root / name))
    return {name: str(root / name) for name in models}
