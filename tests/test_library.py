"""tpuseg as a library: training and predicting from Python, and that nothing of the program around it is changed."""

import concurrent.futures
import contextlib
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys

import numpy as np
import orbit
import PIL.Image
import pytest
import tensorflow as tf
import tf_keras
import tiny_backbone  # noqa: F401 - Registers it.

import tpuseg
from tpuseg.configs import experiments
from tpuseg.training import runs

OVERRIDES = {
    "task": {"model.input_size": [64, 64], "model": {"aspp.num_filters": 16, "decoder": {"num_filters": 16}}},
    "task.model.backbone": {"type": "tiny", "tiny.num_filters": 8},
    "task.evaluation.input_size": (64, 64),
    "task.evaluation.num_pictures": 0,
    "task.train_data.global_batch_size": 4,
    "trainer.train_steps": 2,
    "trainer.validation_interval": 2,
    "trainer.optimizer_config.warmup.linear.warmup_steps": 1,
    "runtime.mixed_precision_dtype": "bfloat16",
}


def program_state():
    """What a library must leave as it is."""
    return {
        "policy of Keras": tf_keras.mixed_precision.global_policy().name,
        "orbit's messages": orbit.controller._log,
        "Python's random numbers": random.getstate(),
        "NumPy's random numbers": np.random.get_state()[1].tolist(),
        "TensorFlow's seed": tf.compat.v1.get_seed(1),
        "step of summaries": tf.summary.experimental.get_step(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
    }


@pytest.fixture(scope="module")
def trained(shapes_dir, tmp_path_factory):
    """A model directory in bfloat16, the metrics that were returned, the program's state before and after, and what was printed."""
    folder = tmp_path_factory.mktemp("library") / "run"
    before = program_state()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        metrics = tpuseg.train("deeplab_shapes", model_dir=folder, data_dir=shapes_dir, overrides=OVERRIDES)
    return folder, metrics, (before, program_state()), printed.getvalue()


@pytest.fixture(scope="module")
def model(trained):
    return tpuseg.load(trained[0])


def test_importing_it_is_cheap_and_its_names_are_there():
    code = "import sys, tpuseg; heavy = {'tensorflow', 'numpy', 'tf_keras'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "official"})
    assert {"load", "train", "ImagePredictor", "Objects"} <= set(tpuseg.__all__) <= set(dir(tpuseg))
    assert all(getattr(tpuseg, name).__module__ for name in tpuseg.__all__ if name != "Image")
    assert tpuseg.train is runs.train
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        tpuseg.trian  # noqa: B018


def test_train_returns_the_metrics(trained):
    folder, metrics, *_ = trained
    written = json.loads((folder / "metrics.json").read_text())
    assert written.pop("resources") and metrics == written
    assert metrics["step"] == 2 and 0 <= metrics["mean_iou"] <= 1


def test_overrides_reach_the_configuration(trained):
    config = experiments.load(str(trained[0] / "config.yaml")).config
    assert config.task.model.input_size == [64, 64] and config.task.model.aspp.num_filters == 16
    assert config.task.model.decoder.num_filters == 16 and config.runtime.mixed_precision_dtype == "bfloat16"


def test_a_wrong_override_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"overrides: task.model.num_clases: there is no such key; did you mean `num_classes`"):
        tpuseg.train("deeplab_shapes", model_dir=tmp_path, overrides={"task": {"model.num_clases": 3}})
    with pytest.raises(ValueError, match="overrides: task..model: is not a key"):
        tpuseg.train("deeplab_shapes", model_dir=tmp_path, overrides={"task..model": 3})


def test_training_leaves_the_program_as_it_was(trained):
    before, after = trained[2]
    for what, value in before.items():
        assert after[what] == value, what


def test_orbit_prints_nothing(trained):
    printed = trained[3]
    assert "done in" in printed and "train | step" not in printed and "eval | step" not in printed


def test_a_finished_run_returns_its_metrics_again_also_in_a_thread(trained, shapes_dir):
    folder, metrics, *_ = trained
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        again = pool.submit(tpuseg.train, "deeplab_shapes", model_dir=folder, data_dir=shapes_dir, overrides=OVERRIDES)
        assert again.result() == metrics


def test_an_interrupt_saves_and_reaches_the_program(shapes_dir, tmp_path, monkeypatch):
    check, calls = runs.StopRequest.check, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        check(self)

    monkeypatch.setattr(runs.StopRequest, "check", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background processes ignore it.
    try:
        with pytest.raises(KeyboardInterrupt):
            tpuseg.train("deeplab_shapes", model_dir=tmp_path, data_dir=shapes_dir, overrides=OVERRIDES)
    finally:
        signal.signal(signal.SIGINT, before)
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("ckpt-1")


def test_loading_leaves_the_policy_of_keras(model):
    assert model.model.classifier.compute_dtype == "bfloat16"
    assert tf_keras.layers.Dense(1).compute_dtype == "float32"


def test_predict_takes_whatever_a_call_takes(model, tmp_path):
    random_pixels = np.random.default_rng(1)
    arrays = [random_pixels.integers(0, 256, size, np.uint8) for size in ((40, 60, 3), (64, 64, 3), (90, 30, 3))]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, array in zip(paths, arrays, strict=True):
        PIL.Image.fromarray(array).save(path)
    expected = [model(array) for array in arrays]
    assert [found.shape for found in expected] == [(40, 60), (64, 64), (90, 30)]
    mixed = model.predict([str(paths[0]), paths[1].read_bytes(), paths[2]])
    for given in (mixed, model.predict(iter(arrays)), model.predict(list(map(str, paths)))):
        for found, wanted in zip(given, expected, strict=True):
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, wanted)
    for single in (paths[1], str(paths[1]), paths[1].read_bytes(), arrays[1], arrays[1][np.newaxis]):
        (found,) = model.predict(single)
        np.testing.assert_array_equal(found, expected[1])
    assert model.predict([]) == []
    with pytest.raises(OSError, match="nothing.png"):
        model.predict([arrays[0], tmp_path / "nothing.png"])
    with pytest.raises(ValueError, match=re.escape("array of uint8 (40, 60), but must be uint8 (height, width, 3)")):
        model.predict(arrays[0][..., 0])


def test_representations_say_what_it_is(model, trained):
    best = pathlib.Path(trained[0], "best_checkpoint", "ckpt-2")
    assert repr(model) == f"<Predictor: deeplab, 6 classes (background, circle, square, triangle, star, ...), from {best}>"
    loaded = experiments.load("maskrcnn_shapes")
    assert re.fullmatch(r"<Experiment maskrcnn_shapes: maskrcnn, 5 classes, \d+ steps of \d+ images>", repr(loaded))
    objects = tpuseg.Objects(np.zeros((2, 4)), np.array([0.984, 0.71]), np.array([0, 3]), np.zeros((2, 28, 28)), (480, 640))
    assert repr(objects) == "<2 objects in 480x640 pixels: class 0 at 0.98, class 3 at 0.71>" and len(objects) == 2
    assert repr(objects.above(0.9)) == "<1 object in 480x640 pixels: class 0 at 0.98>"
    assert repr(objects.above(1.0)) == "<0 objects in 480x640 pixels>"
    many = tpuseg.Objects(np.zeros((6, 4)), np.ones(6), np.arange(6), np.zeros((6, 28, 28)), (4, 5))
    assert repr(many).endswith("class 4 at 1.00, ...>")


def test_the_last_evaluation_writes_a_report(trained):
    folder, _, _, printed = trained
    page = (folder / "report" / "index.html").read_text()
    assert "mean IoU" in page and "Images (10)" in page
    assert (folder / "report" / "labels_to_check.csv").read_text().startswith("image,annotation_id,type,score")
    images = list((folder / "report" / "images").iterdir())
    assert {path.suffix for path in images} == {".jpg", ".png"} and len([path for path in images if path.suffix == ".jpg"]) == 10
    assert f"what is wrong in each image: {folder / 'report' / 'index.html'}" in printed
