"""The same random weights in torchvision's Mask R-CNNs, of both versions, and in ours give the same numbers.

torchvision need not be installed beside TensorFlow: `TPUSEG_TORCH_PYTHON` names an interpreter that has it.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tpuseg import weights
from tpuseg.maskrcnn import cells, config, model
from tpuseg.maskrcnn.roi_align import pooling
from tpuseg.maskrcnn.rpn import propose

pytestmark = pytest.mark.parity

_SIZES = tf.constant([[256.0, 300.0], [200.0, 320.0]])


@pytest.fixture(scope="module", params=["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def path(version, tmp_path_factory):
    python = os.environ.get("TPUSEG_TORCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} cannot import torchvision; TPUSEG_TORCH_PYTHON can name an interpreter that can")
    path = tmp_path_factory.mktemp("torchvision") / "reference.npz"
    script = pathlib.Path(__file__).with_name("torchvision_reference.py")
    subprocess.run([python, str(script), str(path), version], check=True)
    return path


@pytest.fixture(scope="module")
def reference(path):
    return np.load(path)


@pytest.fixture(scope="module")
def settings(version):
    result = config.ModelConfig(num_classes=5, input_size=[256, 320])
    # Rounded anchors, ROI align without the half pixel.
    result.rpn.anchors.rounded = True
    result.roi_align.aligned = False
    result.detection.num_candidates = 5000
    if version.endswith("v2"):
        result.rpn.num_convs, result.box_head.num_convs, result.box_head.num_dense = 2, 4, 1
    return result


@pytest.fixture(scope="module")
def ours(path, settings):
    result = model.build(settings)
    report = weights.load_initial(result, str(path.with_suffix(".pth")), settings)
    assert report.skipped == [] and report.unused == [] and report.notes == []
    return result


@pytest.fixture(scope="module")
def pyramid(reference, ours):
    return ours.features(tf.constant(reference["images"]), _SIZES)


def test_feature_maps(reference, pyramid):
    for level, features in enumerate(pyramid, start=2):
        expected = reference[f"p{level}"]
        np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_rpn_outputs(reference, ours, pyramid):
    objectness, deltas = ours.rpn(ours.rpn.features(pyramid))
    for level in range(2, 7):
        np.testing.assert_allclose(objectness[level - 2], reference[f"objectness{level}"], rtol=0, atol=1e-3)
        codes = tf.reshape(deltas[level - 2], [2, -1, 4])
        np.testing.assert_allclose(codes, reference[f"deltas{level}"][..., [1, 0, 3, 2]], rtol=0, atol=1e-3)


def test_proposals(reference, ours, pyramid, settings):
    objectness, deltas = ours.rpn(ours.rpn.features(pyramid))
    proposals = propose(objectness, deltas, ours.anchors(pyramid), _SIZES, settings.rpn, training=False)
    for row in range(2):
        expected = reference[f"proposals{row}"][:, [1, 0, 3, 2]]
        actual = proposals.boxes[row].numpy()[proposals.valid[row].numpy()]
        assert len(actual) == len(expected)
        # Near ties may be ordered differently: every box must have its like.
        distances = np.abs(actual[:, None] - expected[None]).max(-1)
        assert np.mean(distances.min(1) < 0.1) > 0.995
        assert np.mean(distances.min(0) < 0.1) > 0.995
        assert np.mean(np.abs(actual - expected).max(-1) < 0.1) > 0.95


def test_roi_align_in_both_alignments(reference, pyramid):
    rois = np.stack([reference["rois"][:, [1, 0, 3, 2]]] * 2)
    for name, aligned in (("pooled_aligned", True), ("pooled_unaligned", False)):
        # Only P2 is given, so that every roi is taken from it.
        actual = pooling.roi_align(cells.build_table(pyramid[:1]), tf.constant(rois), 7, config.RoiAlignConfig(aligned=aligned))
        expected = reference[name]
        np.testing.assert_allclose(
            actual.numpy().reshape(expected.shape), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
        )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_detections(reference, ours, jit_compile):
    predict = tf.function(lambda images, sizes: ours(images, sizes, training=False), jit_compile=jit_compile)
    found = {name: value.numpy() for name, value in predict(reference["images"], _SIZES).items()}
    for row in range(2):
        count = len(reference[f"scores{row}"])
        assert count > 20
        assert found["valid"][row].sum() == count
        # Only the 100 best are kept: which of nearly equal scores comes last is decided by rounding.
        scores = reference[f"scores{row}"]
        for index in np.flatnonzero(scores > scores.min() + 1e-3):
            same = np.flatnonzero(
                (found["classes"][row] == reference[f"labels{row}"][index] - 1)
                & (np.abs(found["boxes"][row] - reference[f"boxes{row}"][index][[1, 0, 3, 2]]).max(-1) < 0.1)
            )
            assert len(same) == 1, (row, index)
            assert abs(found["scores"][row, same[0]] - reference[f"scores{row}"][index]) < 1e-3
            # A box that differs by a part of a pixel moves its mask; `test_masks` asks for more where the boxes are the same.
            assert np.abs(found["masks"][row, same[0]] - reference[f"masks{row}"][index, 0]).max() < 1e-2


def test_masks(reference, ours):
    pyramid = ours.features(reference["images"], tf.constant(_SIZES, tf.float32))
    for row in range(2):
        boxes = reference[f"boxes{row}"][:, [1, 0, 3, 2]][None]
        classes = reference[f"labels{row}"][None].astype(np.int32) - 1
        table = cells.build_table([level[row : row + 1] for level in pyramid[:-1]])
        masks = tf.sigmoid(ours.masks(table, tf.constant(boxes), tf.constant(classes), tf.ones(classes.shape, bool)))
        np.testing.assert_allclose(masks[0], reference[f"masks{row}"][:, 0], rtol=0, atol=1e-3)
