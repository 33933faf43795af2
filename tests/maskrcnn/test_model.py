"""Mask R-CNN's network: what it returns for images of any size on its canvas."""

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.maskrcnn import caps, config, model


@pytest.fixture(scope="module")
def network():
    settings = config.ModelConfig(num_classes=3, input_size=[128, 160])
    return settings, model.build(settings)


def test_detections_are_static_and_inside_the_image(network):
    settings, net = network
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 128, 160, 3)), tf.uint8)
    sizes = tf.constant([[128.0, 160.0], [100.0, 90.0]])
    found = net(images, sizes, training=False)
    count = caps.detections(settings.detection)
    assert found["boxes"].shape == (2, count, 4) and found["scores"].shape == (2, count)
    assert found["masks"].shape == (2, count, 28, 28)
    boxes = found["boxes"].numpy()[1]
    assert (boxes[:, 2] <= 100).all() and (boxes[:, 3] <= 90).all() and (boxes >= 0).all()
