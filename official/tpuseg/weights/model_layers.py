"""What a network says about its own layers, for weights of other classes and other anchors.

A network may have the attributes `class_layers` (a mapping from a layer to `layers.class_layers.ClassLayer`), `anchor_layers` (from
a layer to the number of values per aspect ratio) and `aspect_ratios`. Layers have their names in checkpoints, `box_head/classes`.
"""

from collections.abc import Mapping

import tf_keras

from tpuseg.layers.class_layers import ClassLayer


def class_layers(model: tf_keras.Model) -> Mapping[str, ClassLayer]:
    """Returns the layers whose last axis has the classes."""
    return getattr(model, "class_layers", {})


def anchor_layers(model: tf_keras.Model) -> Mapping[str, int]:
    """Returns the layers whose last axis has the anchors' aspect ratios, and the number of values of each."""
    return getattr(model, "anchor_layers", {})


def aspect_ratios(model: tf_keras.Model) -> tuple[float, ...]:
    """Returns the aspect ratios of the anchors, in the order in which `anchor_layers` have them."""
    return getattr(model, "aspect_ratios", ())
