"""The examples of docs/extending.md, as a user runs them: trained for a few steps, evaluated, exported and loaded."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

SMALL = (
    "trainer.train_steps=2,trainer.validation_interval=2,trainer.checkpoint_interval=2,trainer.summary_interval=1,"
    "task.train_data.global_batch_size=2,task.train_data.generate=,task.validation_data.generate=,task.model.input_size=[64,64]"
)


def program(repository, name, *flags):
    """Runs a program in the repository's folder."""
    command = [sys.executable, str(repository / "official" / f"{name}.py"), *flags]
    env = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


def reported(folder):
    """Returns the last values of the losses in TensorBoard's files."""
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]
    return {tag: float(tf.make_ndarray(accumulator.Tensors(tag)[-1].tensor_proto)) for tag in tags if "/" not in tag}


def predicted(path, shape):
    """Returns the class map of a random image, predicted in a process that only knows the path of the model."""
    code = f"""
import sys
sys.path.insert(0, "official")
import numpy as np, tpuseg
model = tpuseg.load({str(path)!r})
image = np.random.default_rng(0).integers(0, 255, {shape}, dtype=np.uint8)
np.save({str(path) + ".npy"!r}, model(image))
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return np.load(f"{path}.npy")


@pytest.mark.slow
def test_a_run_with_a_backbone_a_loss_and_an_augmentation(repository, shapes_dir, tmp_path):
    modules = [f"--import_module=examples.{name}" for name in ("tiny_backbone", "dice_loss", "random_erasing")]
    components = (
        "task.model.backbone.type=tiny,task.model.backbone.tiny.num_filters=4,task.model.num_frozen_stages=1,"
        "task.losses.extra.dice.weight=0.5,task.train_data.augmentations.random_erasing.probability=1"
    )
    run, exported = tmp_path / "run", tmp_path / "exported"
    flags = [f"--model_dir={run}", f"--data_dir={shapes_dir}", f"--params_override={SMALL},{components}"]
    program(repository, "train", "--experiment=deeplab_shapes", *modules, *flags)
    assert 0 < reported(run / "train")["dice"] <= 0.5
    assert json.loads((run / "metrics.json").read_text())["step"] == 2
    config = (run / "config.yaml").read_text()
    assert "examples.dice_loss" in config and "num_filters: 4" in config
    # The run's own configuration imports the modules.
    program(repository, "export", f"--model_dir={run}", f"--output_dir={exported}")
    assert predicted(run, (50, 70, 3)).shape == (50, 70)
    np.testing.assert_array_equal(predicted(run, (50, 70, 3)), predicted(exported, (50, 70, 3)))


@pytest.mark.slow
def test_an_architecture(repository, shapes_dir, tmp_path):
    run, exported, lite = tmp_path / "run", tmp_path / "exported", tmp_path / "lite"
    flags = [f"--model_dir={run}", f"--data_dir={shapes_dir}", f"--params_override={SMALL},task.evaluation.input_size=[64,96]"]
    program(repository, "train", "--experiment=examples/semantic_fpn/semantic_fpn_shapes.yaml", *flags)
    assert "mean_iou" in json.loads((run / "metrics.json").read_text())
    program(repository, "export", f"--model_dir={run}", f"--output_dir={exported}")
    program(repository, "export", f"--model_dir={run}", f"--output_dir={lite}", "--format=tflite")
    assert json.loads((lite / "model.json").read_text())["outputs"]["classes"].startswith("[1, 64, 96] uint8")
    np.testing.assert_array_equal(predicted(run, (40, 90, 3)), predicted(exported, (40, 90, 3)))


@pytest.fixture
def examples(repository, monkeypatch):
    """The examples can be imported; what they register is removed again."""
    from tpuseg import registry
    from tpuseg.formats.registry import label_formats

    monkeypatch.syspath_prepend(str(repository))
    kinds = (
        *(registry.architectures, registry.backbones, registry.losses, registry.augmentations, registry.weight_sources),
        label_formats,
    )
    before = [set(kind.registered()) for kind in kinds]
    yield
    for kind, names in zip(kinds, before, strict=True):
        for name in set(kind.registered()) - names:
            kind.unregister(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "examples"]:
        del sys.modules[name]


def test_dice_by_hand(examples):
    from examples.dice_loss import Dice, DiceConfig

    # Two of three pixels of class 0, one of class 1; the fourth is ignored. Probabilities are 0 or 1.
    labels = tf.constant([[[0, 0], [1, 255]]], tf.uint8)
    logits = tf.constant([[[[50.0, 0], [0, 50.0]], [[0, 50.0], [50.0, 0]]]])
    total, count = Dice(DiceConfig(smoothing=1e-6))(labels, {"logits": logits})
    # Class 0: 1 of 1 predicted, of 2 true: 2 / 3. Class 1: 1 of 2 predicted, of 1 true: 2 / 3.
    assert float(count) == 2 and float(total) == pytest.approx(2 * (1 - 2 / 3), abs=1e-5)


def test_erased_pixels_are_ignored(examples):
    from examples.random_erasing import RandomErasing, RandomErasingConfig

    example = {"image": tf.ones([20, 30, 3], tf.uint8), "labels": tf.zeros([20, 30], tf.uint8)}
    changed = RandomErasing(RandomErasingConfig(probability=1.0))(example, tf.constant([1, 2]))
    erased = changed["labels"].numpy() == 255
    assert 0 < erased.mean() <= 0.4 * 0.4 + 0.05
    np.testing.assert_array_equal((changed["image"].numpy() == 128).all(-1), erased)
    kept = RandomErasing(RandomErasingConfig(probability=0.0))(example, tf.constant([1, 2]))
    assert (kept["labels"].numpy() == 0).all() and (kept["image"].numpy() == 1).all()


def test_weights_of_a_registered_source(examples, tmp_path):
    import examples.npz_weights  # noqa: F401
    from partial_models import Backbone

    from tpuseg import weights
    from tpuseg.deeplab.config import ModelConfig

    settings = ModelConfig(input_size=[33, 33], pixel_scaling="minus_one_to_one")
    settings.backbone.type = "mobilenet_v2"
    model = Backbone(settings)
    kernel = np.random.default_rng(0).normal(size=model.backbone.stem.conv.kernel.shape).astype(np.float32)
    np.savez(tmp_path / "weights.npz", **{"backbone/stem/conv/kernel": kernel})
    report = weights.load_initial(model, str(tmp_path / "weights.npz"), settings)
    assert report.restored == ["backbone/stem/conv"]
    np.testing.assert_array_equal(model.backbone.stem.conv.kernel, kernel)
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"broken\.npz is no NumPy archive"):
        weights.load_initial(model, str(tmp_path / "broken.npz"), settings)
    settings.pixel_scaling = "imagenet"
    with pytest.raises(ValueError, match="need task.model.pixel_scaling=minus_one_to_one"):
        weights.load_initial(model, str(tmp_path / "weights.npz"), settings)


def test_a_loss_of_the_other_kind_is_refused(examples):
    import examples.dice_loss  # noqa: F401

    from tpuseg import registry
    from tpuseg.configs import experiments

    config = experiments.load("maskrcnn_shapes", params_override="task.losses.extra.dice.weight=1").config
    with pytest.raises(ValueError, match="task.losses.extra.dice is for semantic examples, and not for instances"):
        registry.architectures.get("maskrcnn").task_class(config.task)


def test_settings_of_components_have_ranges(examples):
    import examples.random_erasing  # noqa: F401

    from tpuseg.configs import experiments

    override = "task.train_data.augmentations.random_erasing.probability=2"
    with pytest.raises(ValueError, match="random_erasing.probability: is 2"):
        experiments.load("deeplab_shapes", params_override=override)


def test_a_label_format(examples, tmp_path):
    import examples.csv_format  # noqa: F401
    import PIL.Image

    from tpuseg.formats import detection, labels
    from tpuseg.formats.dataset import Options
    from tpuseg.formats.listing import Listing

    PIL.Image.new("RGB", (12, 8)).save(tmp_path / "a.png")
    table = tmp_path / "polygons.csv"
    table.write_text("a.png,dog,1 1 5 1 5 3 1 3\nb.png,cat,0 0 2 0 2 2\n")
    listing = Listing(str(tmp_path))
    found = detection.detect_format(listing)
    assert found.name == "csv_polygons"
    dataset = found.read(listing, Options())
    assert dataset.class_names == ["cat", "dog"] and [finding.kind for finding in dataset.findings] == ["image_missing"]
    [annotation] = labels.read_objects(dataset.images[0]).annotations
    assert annotation.box == (1, 1, 4, 2) and annotation.area == 8 and annotation.category.name == "dog"
    pixels = found.read(listing, Options(kind="semantic"))
    assert pixels.class_names == ["background", "cat", "dog"]
    ids = pixels.images[0].labels.read((8, 12)).ids
    assert (ids == 2).sum() == 8 and (ids[1:3, 1:5] == 2).all()
    table.write_text("a.png,dog\n")
    with pytest.raises(ValueError, match=r"polygons\.csv, line 1: must be FILE,CLASS"):
        found.read(listing, Options())
