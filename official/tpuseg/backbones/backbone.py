"""What every backbone offers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import tf_keras

from tpuseg.configs import ranges, schema

if TYPE_CHECKING:
    from official.modeling.hyperparams import base_config


class Backbone(tf_keras.Model):
    """A network that turns images into features of several strides.

    It is called with [B, H, W, C] pixels in the compute type and returns a dictionary: `"2"` to `"5"` are the features of stride 4
    to 32 (or of the output stride where that is smaller: atrous convolutions then keep the resolution), and `"low_level"` are those
    of stride 4 that DeepLab's decoder takes.

    Attributes:
      config_class: Configuration of the backbone's own settings, below `task.model.backbone.NAME`.
      config_ranges: Range of every number in `config_class`, by field; only for backbones of other packages.
      settings_of_weights: Fields of `config_class` that the shapes of weights do not show; weights are refused where they differ.
    """

    config_class: ClassVar["type[base_config.Config]"]
    config_ranges: ClassVar[Mapping[str, ranges.Range | ranges.Choice]] = {}
    settings_of_weights: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, output_stride: int, norm: schema.NormConfig, activation: str, name: str) -> None:
        """Creates the layers in a subclass, whose arguments are these without the name.

        Args:
          config: A `config_class`.
          output_stride: 8, 16 or 32.
          norm: Configuration of every batch norm.
          activation: The experiment's activation; backbones that were trained with another one ignore it.
          name: Name of the Keras model.
        """
        del config, output_stride, norm, activation
        super().__init__(name=name)

    def layers_by_stage(self) -> Sequence[Sequence[tf_keras.layers.Layer]]:
        """Returns the layers of the stem and of every stage, in order; empty if the backbone cannot freeze them."""
        return []

    def freeze(self, num_stages: int) -> None:
        """Keeps the weights of the first stages as they are; their backward pass is then never computed.

        Args:
          num_stages: How many, with the stem as the first.

        Raises:
          ValueError: The backbone does not offer so many stages.
        """
        stages = self.layers_by_stage()
        if num_stages > len(stages):
            offered = f"has {len(stages)}" if stages else "cannot freeze any"
            raise ValueError(f"task.model.num_frozen_stages is {num_stages}, but the backbone {self.name} {offered}; set it to 0")
        for stage in stages[:num_stages]:
            for layer in stage:
                layer.trainable = False
