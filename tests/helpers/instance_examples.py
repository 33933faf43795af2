"""Records of drawn objects, and the training examples that Mask R-CNN's input makes of them."""

import numpy as np
import PIL.Image
import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.convert.images import png
from tpuseg.convert.objects import Annotation, instance
from tpuseg.data import instance_records, pipeline
from tpuseg.data.examples import Category, InstanceExample
from tpuseg.maskrcnn import inputs
from tpuseg.ops import masks

HEIGHT, WIDTH = 96, 144


def settings(override=""):
    values = "task.model.input_size=[128,192],task.train_data.global_batch_size=2,task.train_data.flip=false"
    return experiments.load("maskrcnn_shapes", params_override=f"{values},{override}" if override else values).config.task


def object_of(box, class_index=0, is_crowd=False):
    """An object that fills its box (x, y, width, height) in whole pixels."""
    x, y, width, height = box
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    annotation = Annotation("", Category(class_index + 1, str(class_index)), class_index, is_crowd, box, None, [polygon])
    return instance(annotation, (HEIGHT, WIDTH), [])


def record_of(objects, size=(HEIGHT, WIDTH)):
    """An image that is white on its objects and black elsewhere."""
    image = np.zeros((*size, 3), np.uint8)
    for thing in objects:
        image[masks.decode(thing.runs)[: size[0], : size[1]] > 0] = 255
    encoded = png(PIL.Image.fromarray(image))
    return instance_records.encode_instances(InstanceExample(encoded, "png", HEIGHT, WIDTH, "7", "7.png", objects))


def example(record, task, seed=(0, 0)):
    raw = {"record": tf.constant(record), "file": tf.constant("some.tfrecord"), "number": tf.constant(3, tf.int64)}
    parsed = pipeline.parse(raw, instance_records.parse_instances)
    features, labels = inputs.augment(parsed, tf.constant(seed), task)
    return {name: value.numpy() for name, value in {**features, **labels}.items()}
