"""Drawing records as images with their labels, for contact sheets."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tpuseg.data import instance_records, records, semantic_records
from tpuseg.visualization import drawing, instance_drawing


def draw_semantic(serialized: Iterable[bytes], class_names: Sequence[str], ignore_label: int) -> Iterator[np.ndarray]:
    """Yields drawn images with their classes, [h, w, 3] uint8; records that cannot be decoded are left out.

    Args:
      serialized: semantic records.
      class_names: class names in the order of the ids, for the legend.
      ignore_label: label of ignored pixels.
    """
    for record in serialized:
        if semantic_records.inspect_semantic(record, None, ignore_label)[1]:
            continue
        parsed = semantic_records.parse_semantic(tf.constant(record))
        num_channels = records.num_channels_of(tf.train.Example.FromString(record).features.feature)
        image = records.decode_image(parsed["image"], num_channels).numpy()
        labels = semantic_records.decode_labels(parsed["labels"]).numpy()
        drawn = drawing.enlarge(drawing.overlay(image, labels, ignore_label))
        width = drawn.shape[1]
        legend = drawing.legend(labels, list(class_names), width, ignore_label, drawing.readable_size(width))
        yield np.concatenate([drawn, legend])


def draw_instances(serialized: Iterable[bytes]) -> Iterator[np.ndarray]:
    """Yields drawn images with their objects, [h, w, 3] uint8; records that cannot be decoded or have errors are left out.

    Args:
      serialized: instance records.
    """
    for record in serialized:
        if instance_records.inspect_instances(record, None)[1]:
            continue
        example = instance_records.read_instances(record)
        found = example.instances
        drawn = instance_drawing.draw(
            records.decode_image(tf.constant(example.image), example.num_channels).numpy(),
            np.array([instance.box for instance in found]).reshape(-1, 4),
            [instance.runs for instance in found],
            [instance.category.name + (" (ignored)" if instance.is_crowd else "") for instance in found],
            [instance.class_index for instance in found],
        )
        names = {instance.class_index: instance.category.name for instance in found}
        listed = [names.get(index, str(index)) for index in range(max(names, default=-1) + 1)]
        yield instance_drawing.add_legend(drawn, [instance.class_index for instance in found if not instance.is_crowd], listed)
