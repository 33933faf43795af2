"""Classes, anchors and epsilons of another library's weights, on a model of a few numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tpuseg.maskrcnn.config import ModelConfig
from tpuseg.maskrcnn.model import MaskRcnn
from tpuseg.weights import coco_classes
from tpuseg.weights.assign import assign
from tpuseg.weights.external import BatchNorm, ExternalWeights


class _Layer(tf_keras.layers.Layer):
    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, tf.Variable(-np.ones(shape, np.float32)))


class _Model(tf_keras.Model):
    """One filter in front of every layer that has classes or anchors."""

    class_layers = MaskRcnn.class_layers
    anchor_layers = MaskRcnn.anchor_layers

    def __init__(self, num_classes, aspect_ratios):
        super().__init__()
        self.aspect_ratios = tuple(aspect_ratios)
        num_ratios = len(self.aspect_ratios)
        self.box_head, self.mask_head, self.rpn = _Layer(), _Layer(), _Layer()
        self.box_head.classes = _Layer(kernel=[1, num_classes + 1], bias=[num_classes + 1])
        self.box_head.deltas = _Layer(kernel=[1, 4 * num_classes], bias=[4 * num_classes])
        self.mask_head.classes = _Layer(kernel=[1, num_classes], bias=[num_classes])
        self.rpn.objectness = _Layer(kernel=[1, 1, 1, num_ratios], bias=[num_ratios])


def _foreign(num_classes, names=None):
    external = ExternalWeights("file.pth", "a file", class_names=names, aspect_ratios=(0.5, 1.0, 2.0))
    count = np.arange(num_classes + 1, dtype=np.float32)
    codes = np.arange(4 * num_classes, dtype=np.float32)
    external.put("box_head/classes", "c", kernel=count[None], bias=count)
    external.put("box_head/deltas", "d", kernel=codes[None], bias=codes)
    external.put("mask_head/classes", "m", kernel=count[None, :-1], bias=count[:-1])
    external.put("rpn/objectness", "o", kernel=np.array([[[[0, 1, 2]]]], np.float32), bias=np.array([0, 1, 2], np.float32))
    return external


def _load(num_classes, external, class_names=None, **settings):
    config = ModelConfig({"num_classes": num_classes, **settings})
    model = _Model(num_classes, config.rpn.anchors.aspect_ratios)
    return model, assign(model, external, config, class_names)


def test_as_many_classes_are_kept():
    model, report = _load(3, _foreign(3))
    assert model.box_head.classes.bias.numpy().tolist() == [0, 1, 2, 3]
    assert report.skipped == []


def test_another_number_is_dropped_and_said():
    model, report = _load(2, _foreign(3))
    assert model.box_head.classes.bias.numpy().tolist() == [-1, -1, -1]
    why = "the file has 3 classes, the model 2: it is initialised randomly (--map_classes keeps those of equal names)"
    assert report.skipped == [("box_head/classes", why), ("box_head/deltas", why), ("mask_head/classes", why)]
    assert report.restored == ["rpn/objectness"]
    assert "skipped: 3" in report.table() and why in report.table()


def test_rows_without_a_class_go():
    model, report = _load(2, _foreign(3, ["cat", None, "dog"]))
    assert model.box_head.classes.bias.numpy().tolist() == [0, 2, 3]  # The background last.
    assert model.box_head.deltas.bias.numpy().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert model.mask_head.classes.bias.numpy().tolist() == [0, 2]
    assert report.class_names == ["cat", "dog"] and "of the 3 rows" in report.notes[0]


def test_rows_of_equal_names_are_kept_and_the_others_the_models_own():
    model, report = _load(3, _foreign(3, ["cat", "cow", "dog"]), ["dog", "ant", "cat"])
    assert model.box_head.classes.kernel.numpy().tolist() == [[2, -1, 0, 3]]
    assert model.box_head.deltas.kernel.numpy().tolist() == [[8, 9, 10, 11, -1, -1, -1, -1, 0, 1, 2, 3]]
    assert model.mask_head.classes.bias.numpy().tolist() == [2, -1, 0]
    assert report.notes[0] == "2 of 3 classes kept their rows: dog, cat"


@pytest.mark.parametrize(
    ("names", "said"), [(["a", "b", "c"], "which has a, b, c, ..."), (None, "which has no names that are known")]
)
def test_no_equal_name_is_an_error(names, said):
    with pytest.raises(ValueError, match=f"--map_classes: none of the classes x, y matches one of file.pth, {said}"):
        _load(2, _foreign(3, names), ["x", "y"])


def test_anchors_in_another_order_and_of_other_shapes():
    model, _ = _load(3, _foreign(3), rpn={"anchors": {"aspect_ratios": [2.0, 0.5, 1.0]}})
    assert model.rpn.objectness.bias.numpy().tolist() == [2, 0, 1]
    model, report = _load(3, _foreign(3), rpn={"anchors": {"aspect_ratios": [3.0, 0.5, 1.0]}})
    assert report.skipped[0][1] == "its anchors have the aspect ratios [0.5, 1.0, 2.0], the model's [3.0, 0.5, 1.0]"


def test_parts_that_the_model_cannot_have_are_told():
    external = _foreign(3)
    external.refused["rpn"] = "it has norms"
    assert _load(3, external)[1].skipped == [("rpn/objectness", "it has norms")]


def test_cocos_ids():
    assert len(coco_classes.BY_ID) == 90 and coco_classes.BY_ID[89] == "toothbrush" and coco_classes.BY_ID[11] is None
    assert len(coco_classes.names_of(80)) == 80 and coco_classes.names_of(81) is None
    assert coco_classes.ids_of(["person", "stop sign", "toothbrush"]) == [1, 13, 90]
    assert coco_classes.ids_of(["person", "gnu"]) == [1, 2]


@pytest.mark.parametrize(("theirs", "ours"), [(1e-5, 1e-3), (1e-3, 1e-5), (0.0, 1e-3)])
def test_another_epsilon_computes_the_same(theirs, ours):
    variance = np.array([0.0, 1e-8, 1e-4, 2e-3, 1.0], np.float32)
    variance[0] = 1e-12 if theirs == 0 else 0
    norm = BatchNorm(np.full(5, 2.0, np.float32), np.zeros(5, np.float32), np.zeros(5, np.float32), variance, theirs)
    other = norm.with_epsilon(ours)
    assert (other.variance >= 0).all()
    scale, expected = other.gamma / np.sqrt(other.variance + ours), 2 / np.sqrt(variance.astype(np.float64) + theirs)
    np.testing.assert_allclose(scale, expected, rtol=1e-4)


def test_a_dead_channel_stays_finite():
    norm = BatchNorm(*(np.zeros(1, np.float32),) * 4, epsilon=0.0).with_epsilon(1e-5)
    assert np.isfinite(norm.gamma).all()


def test_a_folded_norm_computes_the_same():
    rng = np.random.default_rng(0)
    kernel, bias, x = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=3)
    norm = BatchNorm(*(rng.uniform(0.5, 1.5, 4) for _ in range(4)), epsilon=1e-3)
    folded, offset = norm.fold(kernel, bias)
    expected = norm.gamma * (x @ kernel + bias - norm.mean) / np.sqrt(norm.variance + 1e-3) + norm.beta
    np.testing.assert_allclose(x @ folded + offset, expected, rtol=1e-5)
