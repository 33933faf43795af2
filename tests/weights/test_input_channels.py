"""The first convolution of weights for three channels in models of other numbers: numbers computed by hand, all three readers."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tpuseg.configs import experiments
from tpuseg.deeplab.config import ModelConfig
from tpuseg.layers.pixels import PixelScaling
from tpuseg.weights import input_channels, own, requirements
from tpuseg.weights.assign import assign
from tpuseg.weights.external import ExternalWeights

# One place, three channels, two filters.
KERNEL = np.array([[[[1, 10], [2, 20], [6, 60]]]], np.float32)
NORM = {"norm": {"epsilon": 1e-3}}


@pytest.mark.parametrize(
    ("num_channels", "wanted"),
    [
        (1, [[9, 90]]),
        (2, [[1.5, 15], [3, 30]]),
        (4, [[0.75, 7.5], [1.5, 15], [4.5, 45], [0.75, 7.5]]),
        (6, [[0.5, 5], [1, 10], [3, 30], [0.5, 5], [1, 10], [3, 30]]),
    ],
)
def test_the_rule_by_hand(num_channels, wanted):
    adapted = input_channels.adapt(KERNEL, num_channels, sees_blue_first=False)
    assert adapted.dtype == np.float32 and adapted.shape == (1, 1, num_channels, 2)
    np.testing.assert_allclose(adapted[0, 0], wanted, rtol=1e-6)


def test_weights_that_see_blue_first_are_turned():
    np.testing.assert_allclose(
        input_channels.adapt(KERNEL, 4, sees_blue_first=True)[0, 0, :, 0], [4.5, 1.5, 0.75, 4.5], rtol=1e-6
    )


@pytest.mark.parametrize("num_channels", [1, 3, 6])
@pytest.mark.parametrize("scaling", ["imagenet", "caffe"])
def test_a_grey_image_gives_what_it_gives_in_colours(num_channels, scaling):
    """With one mean and deviation; of 6 channels two are of each colour."""
    statistics = ([100.0] * num_channels, [50.0] * num_channels)
    reference = PixelScaling(scaling, 3, [100.0] * 3, [50.0] * 3)(tf.constant(np.full((1, 1, 1, 3), 180, np.uint8)))
    pixels = PixelScaling(scaling, num_channels, *statistics)(tf.constant(np.full((1, 1, 1, num_channels), 180, np.uint8)))
    kernel = KERNEL if num_channels == 3 else input_channels.adapt(KERNEL, num_channels, scaling == "caffe")
    np.testing.assert_allclose(tf.nn.conv2d(pixels, kernel, 1, "VALID"), tf.nn.conv2d(reference, KERNEL, 1, "VALID"), rtol=1e-6)


class _Layer(tf_keras.layers.Layer):
    def __init__(self, **values):
        super().__init__()
        for name, value in values.items():
            setattr(self, name, value)


def small_model(num_channels, stem="resnet"):
    """A model that has nothing but the variables of a first convolution, under the names that the backbones give them."""
    model = tf_keras.Model()
    model.backbone = _Layer()
    conv = _Layer(conv=_Layer(kernel=tf.Variable(np.zeros((1, 1, num_channels, 2), np.float32))))
    model.backbone.stem = [conv] if stem == "resnet" else conv
    return model, conv.conv.kernel


def settings(num_channels, **more):
    means = {} if num_channels == 3 else {"pixel_mean": [100.0] * num_channels, "pixel_stddev": [50.0] * num_channels}
    return ModelConfig({"num_channels": num_channels, **means, **more})


@pytest.mark.parametrize(("num_channels", "wanted"), [(1, [9]), (3, [1, 2, 6]), (5, [0.6, 1.2, 3.6, 0.6, 1.2])])
@pytest.mark.parametrize(("stem", "layer"), [("resnet", "backbone/stem/0/conv"), ("mobilenet", "backbone/stem/conv")])
def test_files_of_other_libraries(num_channels, wanted, stem, layer):
    model, kernel = small_model(num_channels, stem)
    external = ExternalWeights("file.pth", "a file", required={"pixel_scaling": "imagenet"})
    external.put(layer, "conv1", kernel=KERNEL)
    report = assign(model, external, settings(num_channels))
    np.testing.assert_allclose(kernel[0, 0, :, 0], wanted, rtol=1e-6)
    assert report.restored == [layer]
    said = f"note: {layer}/kernel is of 3 channels in the file and {num_channels} in the model: the "
    assert (said in report.table()) == (num_channels != 3)


def test_means_of_a_users_own_are_a_note_for_weights_of_three_channels():
    model, _ = small_model(3)
    external = ExternalWeights("file.pth", "a file", required={"pixel_scaling": "imagenet"})
    external.put("backbone/stem/0/conv", "conv1", kernel=KERNEL)
    report = assign(model, external, settings(3, pixel_mean=[1.0, 2.0, 3.0], pixel_stddev=[4.0, 5.0, 6.0]))
    assert "note: task.model.pixel_mean and pixel_stddev are set, but the weights were trained with pixel_scaling imagenet" in (
        report.table()
    )


def write_checkpoint(folder, num_channels, **more):
    """A run's checkpoint, its first kernel counting from 1, with the run's configuration beside it."""
    folder.mkdir()
    model, kernel = small_model(num_channels)
    kernel.assign(np.arange(1, 2 * num_channels + 1, dtype=np.float32).reshape(1, 1, num_channels, 2))
    experiment = experiments.load("deeplab_shapes").config.as_dict()
    experiment["task"]["model"] = settings(num_channels, **more).as_dict()
    (folder / "config.yaml").write_text(experiments.yaml.safe_dump(experiment))
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder), 1).save(checkpoint_number=1)
    return str(folder)


def test_own_checkpoints(tmp_path):
    three, five = write_checkpoint(tmp_path / "three", 3), write_checkpoint(tmp_path / "five", 5)
    model, kernel = small_model(3)
    assert own.load(model, three, settings(3)).notes == []
    np.testing.assert_array_equal(kernel[0, 0, :, 0], [1, 3, 5])
    model, kernel = small_model(1)
    assert "the sum of the three is taken" in own.load(model, three, settings(1)).table()
    np.testing.assert_array_equal(kernel[0, 0, :, 0], [9])
    model, kernel = small_model(5)
    assert own.load(model, five, settings(5)).notes == []
    np.testing.assert_array_equal(kernel[0, 0, :, 0], [1, 3, 5, 7, 9])
    with pytest.raises(ValueError, match=r"five/ckpt-1 has weights for images of 5 channels, and task.model.num_channels is 4"):
        own.load(small_model(4)[0], five, settings(4))


def test_own_checkpoints_keep_their_means(tmp_path):
    path = write_checkpoint(tmp_path / "run", 5)
    other = settings(5, pixel_mean=[90.0] * 5)
    with pytest.raises(ValueError, match=r"need task.model.pixel_mean=\[100.0,100.0,100.0,100.0,100.0\] \(it is \[90.0,90.0,"):
        own.load(small_model(5)[0], path, other)


def test_what_weights_need_has_the_channels():
    found = requirements.of_settings(settings(4))
    assert found["num_channels"] == 4 and found["pixel_mean"] == [100.0] * 4 and found["pixel_stddev"] == [50.0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet", "mobilenet_v2", "xception65"])
def test_the_backbones_first_convolutions_have_these_names(backbone):
    from partial_models import Backbone

    small = settings(4, backbone={"type": backbone}, input_size=[33, 33])
    names = [name for name, variable in own.variables_by_name(Backbone(small)).items() if variable.shape.as_list()[-2:-1] == [4]]
    assert len(names) == 1 and names[0] in input_channels._FIRST_KERNELS
