"""detectron2's names and layouts: the same network under its names and torchvision's has the same weights here."""

import json
import pathlib
import pickle

import numpy as np
import pytest
import seeded
import tensorflow as tf
from partial_models import Backbone

from tpuseg import weights
from tpuseg.maskrcnn import config
from tpuseg.weights import detectron2, torchvision
from tpuseg.weights.external import Tensors

GOLDEN = np.load(pathlib.Path(__file__).parent.parent / "golden" / "maskrcnn_resnet50_fpn.npz")
SIDE = 64
NORM = ("weight", "bias", "running_mean", "running_var")


def renamed(tensors):
    """Brings torchvision's Mask R-CNN to detectron2's names: the background last, and without boxes."""
    result = {}

    def move(theirs, ours, parts=("weight", "bias")):
        for part in parts:
            result[f"{theirs}.{part}"] = tensors[f"{ours}.{part}"]

    body, up = "backbone.body", "backbone.bottom_up"
    move(f"{up}.stem.conv1", f"{body}.conv1", ["weight"])
    move(f"{up}.stem.conv1.norm", f"{body}.bn1", NORM)
    for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(count):
            theirs, ours = f"{up}.res{stage}.{block}", f"{body}.layer{stage - 1}.{block}"
            for number in (1, 2, 3):
                move(f"{theirs}.conv{number}", f"{ours}.conv{number}", ["weight"])
                move(f"{theirs}.conv{number}.norm", f"{ours}.bn{number}", NORM)
            if not block:
                move(f"{theirs}.shortcut", f"{ours}.downsample.0", ["weight"])
                move(f"{theirs}.shortcut.norm", f"{ours}.downsample.1", NORM)
    for number in range(4):
        move(f"backbone.fpn_lateral{number + 2}", f"backbone.fpn.inner_blocks.{number}.0")
        move(f"backbone.fpn_output{number + 2}", f"backbone.fpn.layer_blocks.{number}.0")
        move(f"roi_heads.mask_head.mask_fcn{number + 1}", f"roi_heads.mask_head.{number}.0")
    rpn, box, mask = "proposal_generator.rpn_head", "roi_heads.box_predictor", "roi_heads.mask_head"
    move(f"{rpn}.conv", "rpn.head.conv.0.0")
    move(f"{rpn}.objectness_logits", "rpn.head.cls_logits")
    move(f"{rpn}.anchor_deltas", "rpn.head.bbox_pred")
    move("roi_heads.box_head.fc1", "roi_heads.box_head.fc6")
    move("roi_heads.box_head.fc2", "roi_heads.box_head.fc7")
    move(f"{mask}.deconv", "roi_heads.mask_predictor.conv5_mask")
    for part in ("weight", "bias"):
        result[f"{box}.cls_score.{part}"] = np.roll(tensors[f"{box}.cls_score.{part}"], -1, axis=0)
        result[f"{box}.bbox_pred.{part}"] = tensors[f"{box}.bbox_pred.{part}"][4:]
        result[f"{mask}.predictor.{part}"] = tensors[f"roi_heads.mask_predictor.mask_fcn_logits.{part}"][1:]
    result["pixel_mean"], result["pixel_std"] = np.zeros((3, 1, 1)), np.ones((3, 1, 1))
    result["proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4))
    return result


@pytest.fixture(scope="module")
def torchvision_tensors():
    return seeded.state_dict(json.loads(str(GOLDEN["shapes"])))


@pytest.fixture(scope="module")
def path(torchvision_tensors, tmp_path_factory):
    """A file as the model zoo has it."""
    path = tmp_path_factory.mktemp("detectron2") / "model_final.pkl"
    content = {"model": renamed(torchvision_tensors), "__author__": "Detectron2 Model Zoo"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return str(path)


def test_the_same_network_under_both_names(path, torchvision_tensors, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    expected = torchvision.translate(Tensors(str(tmp_path / "a.pth"), torchvision_tensors))
    found = detectron2.read(path)
    assert found.unused == []
    assert set(found.values) == set(expected.values) and set(found.norms) == set(expected.norms)
    for name, value in expected.values.items():
        np.testing.assert_array_equal(found.values[name], value)
    for name, norm in expected.norms.items():
        np.testing.assert_array_equal(found.norms[name].variance, norm.variance)
    assert found.required["backbone.resnet.stride_on"] == "1x1" and found.required["pixel_scaling"] == "detectron2"


def test_features_of_bgr_pixels_with_the_stride_on_the_1x1(path):
    settings = config.ModelConfig(num_classes=5, input_size=[SIDE, SIDE], pixel_scaling="detectron2")
    settings.backbone.resnet.stride_on = "1x1"
    ours = Backbone(settings)
    report = weights.load_initial(ours, path, settings, "detectron2")
    assert report.skipped == [] and report.notes == []
    pyramid = ours.features(tf.constant(seeded.image(SIDE, SIDE)))
    for level in range(2, 6):
        step, expected = 8 >> (level - 2), GOLDEN[f"caffe_p{level}"]
        actual = pyramid[level - 2][:, ::step, ::step, :8]
        assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {n: v for n, v in t.items() if "fpn" not in n}, "a model without a feature pyramid"),
        (lambda t: {n: v for n, v in t.items() if "mask_head" not in n}, "a model without a mask head"),
        (lambda t: t | {"roi_heads.box_head.0.fc1.weight": np.zeros(1)}, "a Cascade R-CNN"),
        (lambda t: t | {"pixel_std": np.array([57.4, 57.1, 58.4])}, "pixels were divided by a deviation"),
        (lambda t: t | {"backbone.fpn_lateral2.norm.weight": np.zeros(1)}, "norms in the pyramid"),
    ],
)
def test_other_models_are_refused_by_name(change, said, torchvision_tensors):
    with pytest.raises(ValueError, match=said):
        detectron2.translate(Tensors("x.pkl", change(renamed(torchvision_tensors))))


def test_caffe2s_names_are_refused(tmp_path):
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": {"conv1_w": np.zeros(3)}}))
    with pytest.raises(ValueError, match="R-50.pkl uses the tensor names of Caffe2"):
        detectron2.read(str(tmp_path / "R-50.pkl"))
