"""TFLite files, read by a process without this project, and what there is none of."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tf_keras

from tpuseg.configs import experiments
from tpuseg.deeplab import tflite as deeplab_tflite
from tpuseg.export import tflite
from tpuseg.inference import predictors

_SCRIPT = """
import sys
sys.modules["tpuseg"] = sys.modules["official"] = None
import numpy as np
import tensorflow as tf
images, *paths = sys.argv[1:]
for path in paths:
    interpreter = tf.lite.Interpreter(path)
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for canvas in np.load(images):
        interpreter.set_tensor(given["index"], canvas[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(found["index"])[0])
    np.save(path + ".npy", results)
"""
# The share of pixels whose class stays the same, in the worst image. Eight bits only keep the classes of a trained network:
# the norms of an untrained one have not seen the range of their inputs, and its scores are nearly equal. These images are
# harder than real ones, as their classes change where two smooth colours are equal: int8 kept 0.85, of the demo's DeepLab 0.98
# (docs/export.md).
_AGREEMENT = {"float32": 0.999, "float16": 0.99, "int8": 0.8}
# After so many, the small network of these tests is confident of its classes.
_STEPS = 150


def classes_of(predictor, kinds, photos, folder):
    """Exports, runs in another process; returns each kind's classes and the evaluator's, cut to the images."""
    calibration = []
    for number, photo in enumerate(list(photos.values()) * 4):
        calibration.append(str(folder / f"{number}.png"))
        PIL.Image.fromarray(photo).save(calibration[-1])
    paths = []
    for kind in kinds:
        tflite.export(predictor, str(folder / kind), kind, calibration if kind == "int8" else [])
        paths.append(str(folder / kind / "model.tflite"))
    placed = predictor.task.predictions.inputs(list(photos.values()))["image"].numpy()
    np.save(folder / "canvases.npy", placed)
    command = [sys.executable, "-c", _SCRIPT, str(folder / "canvases.npy"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {kind: np.load(path + ".npy") for kind, path in zip(kinds, paths, strict=True)}


@pytest.fixture
def fitting(photos):
    """Images that lie on the canvas as they are."""
    return {"small": photos["small"], "cut": photos["large"][:129, :120], "narrow": photos["wide"][:, 100:261]}


@pytest.fixture
def trained(mobilenet_run_dir, fitting):
    """The predictor of a network that has learned which colour is the strongest in a few images."""
    predictor = predictors.Predictor(mobilenet_run_dir)
    images = predictor.task.predictions.inputs(list(fitting.values()))["image"]
    labels = tf.cast(tf.argmax(images, -1) + 1, tf.uint8)  # Padding, which is grey, is the first of them.
    optimizer = tf_keras.optimizers.legacy.Adam(3e-3)
    step = tf.function(lambda: predictor.task.train_step(({"image": images}, labels), predictor.model, optimizer)["loss"])
    losses = [float(step()) for _ in range(_STEPS)]
    assert losses[-1] < losses[0] / 4
    return predictor


def agreement(found, wanted):
    """Returns the smallest share of an image's pixels that have the same class."""
    rows = zip(found, wanted, strict=True)
    return min(float((classes[: w.shape[0], : w.shape[1]] == w).mean()) for classes, w in rows)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("float32",), ("float16", "int8")])
def test_class_maps(kinds, trained, fitting, tmp_path):
    predictor = trained
    wanted = predictor.predict(list(fitting.values()))
    assert min(len(np.unique(classes)) for classes in wanted) > 1
    for kind, found in classes_of(predictor, kinds, fitting, tmp_path).items():
        assert found.dtype == np.uint8 and found.shape[1:] == (129, 161)
        assert agreement(found, wanted) >= _AGREEMENT[kind], kind
        described = json.loads((tmp_path / kind / "model.json").read_text())
        assert described["inputs"]["images"]["shape"] == [1, 129, 161, 3] and described["class_names"] == predictor.class_names
        assert described["weights"] == kind
    if "int8" in kinds:
        sizes = {kind: os.path.getsize(tmp_path / kind / "model.tflite") for kind in kinds}
        assert sizes["int8"] < sizes["float16"]


_OBJECTS_SCRIPT = """
import sys
sys.modules["tpuseg"] = sys.modules["official"] = None
import numpy as np
import tensorflow as tf
inputs, *paths = sys.argv[1:]
for path in paths:
    run = tf.lite.Interpreter(path).get_signature_runner()
    given = np.load(inputs)
    rows = [run(images=given["image"][n, None], image_sizes=given["image_size"][n, None]) for n in range(len(given["image"]))]
    np.savez(path + ".npz", **{name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
"""


@pytest.mark.slow
def test_objects(models, photos, tmp_path):
    predictor, images = models["maskrcnn"], list(photos.values())
    inputs = predictor.task.predictions.inputs(images)
    sizes = inputs["image_size"].numpy().astype(np.float32)
    np.savez(tmp_path / "inputs.npz", image=inputs["image"].numpy(), image_size=sizes)
    paths = []
    for kind in ("float32", "float16"):
        tflite.export(predictor, str(tmp_path / kind), kind, [])
        paths.append(str(tmp_path / kind / "model.tflite"))
    command = [sys.executable, "-c", _OBJECTS_SCRIPT, str(tmp_path / "inputs.npz"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found, halves = (np.load(path + ".npz") for path in paths)
    for row, wanted in enumerate(predictor.predict(images)):
        count = int(found["num_detections"][row])
        assert count == len(wanted.boxes) > 3
        factor = np.tile(np.array(wanted.size) / sizes[row], 2)
        np.testing.assert_allclose(found["boxes"][row][:count] * factor, wanted.boxes, atol=0.5)
        np.testing.assert_allclose(found["scores"][row][:count], wanted.scores, atol=1e-3)
        np.testing.assert_array_equal(found["classes"][row][:count], wanted.classes)
        np.testing.assert_allclose(found["masks"][row][:count], wanted.masks, atol=1e-2)
        # Half precision turns the order of objects that score nearly alike.
        np.testing.assert_allclose(halves["scores"][row][0], wanted.scores[0], atol=0.02)
    assert os.path.getsize(paths[1]) < 0.7 * os.path.getsize(paths[0])
    described = json.loads((tmp_path / "float32" / "model.json").read_text())
    assert set(described["outputs"]) == set(found.files) and set(described["inputs"]) == {"images", "image_sizes"}


def test_what_cannot_be_had_is_refused(models, run_dirs, tmp_path):
    with pytest.raises(ValueError, match="there is no int8 export of maskrcnn: eight bits do not tell the coordinates"):
        tflite.export(models["maskrcnn"], str(tmp_path / "o"), "int8", [])
    with pytest.raises(ValueError, match="needs --calibration with at least 8 images like those .* will process, not 2"):
        tflite.export(models["deeplab"], str(tmp_path / "o"), "int8", ["a.png", "b.png"])
    path = os.path.join(run_dirs["deeplab"], experiments.CONFIG_FILE)
    flipped = object.__new__(predictors.Predictor)
    flipped.config = experiments.load(path, params_override="task.evaluation.flip=true").config
    with pytest.raises(ValueError, match="several scales or mirrored"):
        tflite.check(flipped, "float32", [])
    assert not os.path.exists(tmp_path / "o")


def test_sides_that_one_operation_cannot_enlarge():
    with pytest.raises(ValueError, match="input 129x160: the sides need the same alignment"):
        deeplab_tflite._enlarge(tf.zeros([1, 33, 40, 2]), 129, 160)


@pytest.mark.slow
def test_int8_input_takes_raw_shades_whatever_the_calibration_images_hold(models, tmp_path):
    dark = str(tmp_path / "dark.png")
    PIL.Image.fromarray(np.full((40, 50, 3), 60, np.uint8)).save(dark)
    predictor = models["deeplab"]
    tflite.export(predictor, str(tmp_path / "o"), "int8", [dark] * 8)
    interpreter = tf.lite.Interpreter(model_path=str(tmp_path / "o" / tflite.MODEL_FILE))
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    assert (scale, zero_point) == (pytest.approx(1.0, abs=1e-6), 0)


def test_calibration_reaches_from_black_to_white(monkeypatch):
    architecture = types.SimpleNamespace(canvas=lambda _: (4, 6), padding=lambda _: (127, 127, 127))
    monkeypatch.setattr(tflite, "_find_architecture", lambda _: architecture)
    config = types.SimpleNamespace(task=None)
    dark = types.SimpleNamespace(read=lambda _: np.full((4, 6, 3), 60, np.uint8), config=config)
    given = [images for (images,) in tflite._place_images(dark, ["dark.png"] * 8)]
    assert {tuple(images.shape) for images in given} == {(1, 4, 6, 3)} and {images.dtype for images in given} == {tf.float32}
    assert len(given) == 8
    for images in given:
        np.testing.assert_array_equal(images[0, 0, :3, 0], [0, 255, 60])
        assert np.unique(images, return_counts=True)[1].tolist() == [3, 4 * 6 * 3 - 6, 3]
