"""Parts of models, which are built in a fraction of the time, for readers that fill no more."""

import tensorflow as tf
import tf_keras

from tpuseg import backbones
from tpuseg.layers.pixels import PixelScaling
from tpuseg.maskrcnn.fpn import Fpn


class Backbone(tf_keras.Model):
    """A backbone, and for Mask R-CNN's settings the pyramid."""

    def __init__(self, settings):
        super().__init__()
        output_stride = getattr(settings, "output_stride", 32)
        self.pixels = PixelScaling.of(settings)
        self.backbone = backbones.build(settings, output_stride)
        self.fpn = Fpn(settings.fpn) if hasattr(settings, "fpn") else None
        images = tf.TensorSpec([1, *settings.input_size, settings.num_channels], tf.uint8)
        tf.function(self.features).get_concrete_function(images)

    def features(self, images):
        levels = self.backbone(self.pixels(images), training=False)
        return levels if self.fpn is None else self.fpn(levels)
