"""Backbones: networks that turn images into features of several strides."""

from tpuseg import registry
from tpuseg.backbones.backbone import Backbone
from tpuseg.configs import schema


def build(network: schema.NetworkConfig, output_stride: int) -> Backbone:
    """Returns the backbone that a network's configuration names.

    Args:
      network: Backbone, norm, activation and the number of frozen stages.
      output_stride: 8, 16 or 32.
    """
    backbone_class = registry.backbones.get(str(network.backbone.type))
    backbone = backbone_class(network.backbone.get(), output_stride, network.norm, network.activation)  # type: ignore[call-arg]
    backbone.freeze(network.num_frozen_stages)
    return backbone
