"""Weights that Google trained: its quantised DeepLab v3 with MobileNetV2 for TensorFlow Lite gives the same classes here.

`TPUSEG_DEEPLAB_MNV2_TFLITE` names the file, `deeplabv3_mnv2_pascal_quant.tflite` of google-coral/test_data (Apache-2.0). It is
dequantised and written as a TensorFlow 1 checkpoint under research/deeplab's names, which is then read as any other. Its norms are
folded into the convolutions: the ones that are written add the folded bias and change nothing else.
`TPUSEG_VOC_DIR` may name a folder of Pascal VOC with some images and masks (`JPEGImages`, `SegmentationClass`).
"""

import os
import pathlib

import numpy as np
import PIL.Image
import pytest
import seeded
import tensorflow as tf

from tpuseg import weights
from tpuseg.configs import experiments
from tpuseg.deeplab import class_scores, model
from tpuseg.evaluation import miou
from tpuseg.io import image_files, label_png
from tpuseg.ops import images

SIDE = 513
_FILE, _VOC = (os.environ.get(name, "") for name in ("TPUSEG_DEEPLAB_MNV2_TFLITE", "TPUSEG_VOC_DIR"))
_IGNORED = 255
pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not _FILE, reason="TPUSEG_DEEPLAB_MNV2_TFLITE names no .tflite file of DeepLab v3 with MobileNetV2"),
]


class _Published:
    """The .tflite file: its weights, dequantised, and what it computes."""

    def __init__(self, path):
        self._interpreter = tf.lite.Interpreter(path, experimental_preserve_all_tensors=True)
        self._interpreter.allocate_tensors()
        self._details = self._interpreter.get_tensor_details()

    def __call__(self, image):
        """Returns [33, 33, 21] float logits and [513, 513] classes of a [513, 513, 3] uint8 image."""
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], image[None])
        self._interpreter.invoke()
        classes = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])[0]
        return self._values(self._named("logits/semantic/BiasAdd", np.uint8))[0], classes

    def variables(self):
        """Returns the variables of a TensorFlow 1 checkpoint by their names."""
        result = {}
        for detail in self._details:
            if "/weights_quant/" in detail["name"]:
                result |= self._layer(detail)
        return result

    def _layer(self, detail):
        layer, _, kind = detail["name"].partition(";")[0].rpartition("/")
        kernel, bias = self._values(detail), self._values(self._named(f"{layer}/", np.int32))
        if kind == "depthwise_Fold":
            return {f"{layer}/depthwise_weights": kernel.transpose(1, 2, 3, 0)} | _norm(layer, bias)
        kernel = kernel.transpose(1, 2, 3, 0)
        if layer == "logits/semantic":
            return {f"{layer}/weights": kernel, f"{layer}/biases": bias}
        return {f"{layer}/weights": kernel} | _norm(layer, bias)

    def _named(self, start, dtype):
        found = [one for one in self._details if one["name"].startswith(start) and one["dtype"] == dtype and len(one["shape"])]
        return found[-1]

    def _values(self, detail):
        scale, zero = detail["quantization"]
        return ((self._interpreter.get_tensor(detail["index"]).astype(np.float64) - zero) * scale).astype(np.float32)


def _norm(layer, bias):
    """A norm that adds a bias: with its epsilon, research/deeplab's, the variance is 1."""
    epsilon = 1e-3 if layer.startswith("MobilenetV2") else 1e-5
    values = {"gamma": np.ones_like(bias), "beta": bias, "moving_mean": np.zeros_like(bias)}
    values["moving_variance"] = np.full_like(bias, 1 - epsilon)
    return {f"{layer}/BatchNorm/{name}": value for name, value in values.items()}


@pytest.fixture(scope="module")
def published():
    return _Published(_FILE)


@pytest.fixture(scope="module")
def ours(published, tmp_path_factory):
    """The experiment's model with the weights restored, as `init_checkpoint` and `import_weights.py` restore them."""
    prefix, variables = str(tmp_path_factory.mktemp("published") / "model.ckpt-30000"), published.variables()
    names = sorted(variables)
    values = [variables[name] for name in names]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
    settings = experiments.load("deeplab_mobilenetv2_voc_fast").config.task.model
    result = model.build(settings)
    report = weights.load_initial(result, prefix, settings, "deeplab_tf1")
    assert report.skipped == [] and report.unused == [] and report.notes == []
    assert len(names) == 54 * 5 + 2 and report.class_names[15] == "person"
    return result


def _logits(ours, image):
    settings = experiments.load("deeplab_mobilenetv2_voc_fast").config.task.evaluation
    return class_scores.class_scores(ours, tf.constant(image[None]), settings)[0].numpy()


def _shapes_of_colors():
    """Ellipses of random colours in front of a smooth background."""
    rng = np.random.default_rng(3)
    image = seeded.image(SIDE, SIDE)[0]
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(12):
        (cy, cx), (ry, rx) = rng.uniform(0, SIDE, 2), rng.uniform(20, 120, 2)
        image[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = rng.integers(0, 256, 3)
    return image


@pytest.mark.parametrize("kind", ["smooth", "shapes", "noise"])
def test_generated_images(kind, published, ours):
    noise = np.random.default_rng(4).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image = {"smooth": seeded.image(SIDE, SIDE)[0], "shapes": _shapes_of_colors(), "noise": noise}[kind]
    expected, classes = published(image)
    logits = _logits(ours, image)
    correlation = np.corrcoef(logits.ravel(), expected.ravel())[0, 1]
    agreement = (miou.class_map(logits, (SIDE, SIDE), (SIDE, SIDE)) == classes).mean()
    print(f"{kind}: correlation of the logits {correlation:.4f}, {agreement:.2%} of the pixels have the same class")
    assert correlation > 0.99 and agreement > 0.94  # Noise has its classes' borders everywhere.


@pytest.mark.skipif(not _VOC, reason="TPUSEG_VOC_DIR names no folder with images and masks of Pascal VOC")
def test_images_of_pascal_voc(published, ours):
    """Nearly the same classes and mean IoU: the .tflite computes in eight bits."""
    same, scores = [], [miou.ConfusionMatrix(21, _IGNORED) for _ in range(2)]
    for path in sorted(pathlib.Path(_VOC, "SegmentationClass").glob("*.png")):
        truth = label_png.values(PIL.Image.open(path), path.read_bytes())
        image = image_files.read_rgb(str(pathlib.Path(_VOC, "JPEGImages", f"{path.stem}.jpg")))
        placed = images.place_on_canvas(tf.constant(image), (SIDE, SIDE)).numpy()
        theirs = published(placed)[1][: truth.shape[0], : truth.shape[1]]
        found = miou.class_map(_logits(ours, placed), (SIDE, SIDE), truth.shape)
        same.append((found == theirs).mean())
        for score, classes in zip(scores, (found, theirs), strict=True):
            score.add(truth, classes)
        print(f"{path.stem}: {same[-1]:.2%} of the pixels have the same class")
    names = [str(number) for number in range(21)]
    mean_ious = [score.metrics(names)["mean_iou"] for score in scores]
    print(f"{len(same)} images: mean IoU {mean_ious[0]:.4f} here, {mean_ious[1]:.4f} there; {np.mean(same):.2%} same pixels")
    assert np.mean(same) > 0.98 and min(same) > 0.95
    assert abs(mean_ious[0] - mean_ious[1]) < 0.05  # A class that is predicted for a single pixel counts as an IoU of 0.
