"""The first convolution of weights that were trained on three channels, for a model that has another number of them.

The rule is that of PyTorch Image Models (`timm.models.adapt_input_conv`, https://github.com/huggingface/pytorch-image-models): for
one channel, the kernels of the three are added, so that a grey image gives what it gives as RGB. For N other channels they are
repeated in turn and multiplied by 3 / N, which keeps the size of the sum:

    channels of the weights    R G B
    1 channel                  R + G + B
    2 channels                 3/2 R   3/2 G
    5 channels                 3/5 R   3/5 G   3/5 B   3/5 R   3/5 G

Weights that see blue first (`pixel_scaling` caffe and detectron2) are brought to red, green, blue before, as such models leave the
channels in the order of the images' files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tpuseg.configs import schema
from tpuseg.layers import pixels
from tpuseg.utils.messages import format_count

# What sees pixels: in ResNets and Xception, and in MobileNetV2.
_FIRST_KERNELS = ("backbone/stem/0/conv/kernel", "backbone/stem/conv/kernel")
_RGB = 3


def adapt(kernel: np.ndarray, num_channels: int, sees_blue_first: bool) -> np.ndarray:
    """Returns the kernel of a first convolution for another number of channels.

    Args:
      kernel: [k, k, 3, filters].
      num_channels: number of the model's channels; not 3.
      sees_blue_first: the kernel's channels are blue, green, red.

    Returns:
      [k, k, num_channels, filters] float32.
    """
    rgb = np.asarray(kernel, np.float32)
    rgb = rgb[:, :, ::-1] if sees_blue_first else rgb
    if num_channels == 1:
        return rgb.sum(axis=2, keepdims=True)
    return rgb[:, :, np.arange(num_channels) % _RGB] * np.float32(_RGB / num_channels)


def adapt_to(settings: schema.InputConfig, kernel: np.ndarray) -> np.ndarray:
    """Returns the kernel, [k, k, 3, filters], for the number of channels of a model's configuration, `task.model`."""
    return adapt(kernel, settings.num_channels, pixels.is_bgr(settings.pixel_scaling))


def differ_alone(name: str, stored: Sequence[int], wanted: Sequence[int]) -> bool:
    """Returns whether a variable is the kernel of a first convolution that only has another number of channels than the stored 3.

    Args:
      name: name of the variable, `backbone/stem/0/conv/kernel`.
      stored: shape in the file.
      wanted: shape in the model.
    """
    is_first = name in _FIRST_KERNELS and len(stored) == len(wanted) == 4
    return is_first and stored[2] == _RGB != wanted[2] and [*stored[:2], stored[3]] == [*wanted[:2], wanted[3]]


def note(name: str, settings: schema.InputConfig) -> str:
    """Returns the line of a report about a kernel that was adapted."""
    count = settings.num_channels
    rule = "the sum of the three is taken" if count == 1 else f"the three are repeated in turn, times 3/{count}"
    return f"{name} is of 3 channels in the file and {count} in the model: {rule} (docs/weights.md)"


def require_adaptable(path: str, required: dict[str, Any], settings: schema.InputConfig) -> dict[str, Any]:
    """Returns what weights need of a model's settings, without what their number of channels makes meaningless.

    Args:
      path: path of the weights.
      required: settings below `task.model`, `num_channels` among them if it is known.
      settings: the model's configuration, `task.model`.

    Raises:
      ValueError: the weights have a number of channels that is neither 3 nor the model's.
    """
    required = dict(required)
    count = required.pop("num_channels", _RGB)
    if count == settings.num_channels:
        return required
    if count != _RGB:
        raise ValueError(
            f"{path} has weights for images of {format_count(count, 'channel')}, and task.model.num_channels is"
            f" {settings.num_channels}; only weights for 3 channels are adapted to another number: set"
            f" task.model.num_channels={count}, or use other weights"
        )
    return {key: value for key, value in required.items() if key not in ("pixel_mean", "pixel_stddev")}
