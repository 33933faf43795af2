"""Layers as PyTorch lays them out, for the readers of what was trained with it.

Kernels are [out, in, height, width] there, ours [height, width, in, out]; box codes are (dx, dy, dw, dh) there, ours
(dy, dx, dh, dw); rois are flattened filter, row, column there, ours row, column, filter.
"""

from typing import Any

import numpy as np

from tpuseg.weights import safe_pickle, safetensors
from tpuseg.weights.foreign import BatchNorm, Foreign, Tensors

ENDINGS = (".pth", ".pt", ".safetensors")
_CODE = [1, 0, 3, 2]
_NUM_BLOCKS: dict[tuple[int, ...], int] = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}
_OTHER_RESNETS: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "ResNet-18", (3, 8, 36, 3): "ResNet-152"}


def read_file(path: str) -> dict[str, np.ndarray]:
    """Returns the state dictionary of a .pth or .safetensors file.

    Raises:
      ValueError: the file is broken, holds more than tensors, or no state dictionary.
    """
    tree = safetensors.load(path) if path.endswith(".safetensors") else safe_pickle.load(path)
    return state_dict(path, tree)


def state_dict(path: str, tree: Any) -> dict[str, np.ndarray]:
    """Returns the tensors by name, from under `model` or `state_dict` where a training script put them.

    Raises:
      ValueError: there are none.
    """
    while isinstance(tree, dict):
        tensors = {name: value for name, value in tree.items() if isinstance(value, np.ndarray)}
        if tensors:
            # What DataParallel puts in front.
            return {name.removeprefix("module."): value for name, value in tensors.items()}
        tree = tree.get("model", tree.get("state_dict"))
    raise ValueError(f"{path} holds no dictionary of tensors; save one with torch.save(model.state_dict(), FILE)")


def kernel(weight: np.ndarray) -> np.ndarray:
    """Returns a convolution's kernel in our layout."""
    return weight.transpose(2, 3, 1, 0)


def put_conv(foreign: Foreign, tensors: Tensors, layer: str, name: str) -> None:
    """Adds a convolution, with its bias if there is one."""
    values = {"kernel": kernel(tensors.take(f"{name}.weight"))}
    if f"{name}.bias" in tensors:
        values["bias"] = tensors.take(f"{name}.bias")
    foreign.put(layer, name, **values)


def put_dense(foreign: Foreign, tensors: Tensors, layer: str, name: str) -> None:
    """Adds a fully connected layer."""
    foreign.put(layer, name, kernel=tensors.take(f"{name}.weight").T, bias=tensors.take(f"{name}.bias"))


def put_dense_of_rois(foreign: Foreign, tensors: Tensors, layer: str, name: str) -> None:
    """Adds the fully connected layer that takes flattened rois, [units, C * S * S]."""
    weight = tensors.take(f"{name}.weight")
    cells = 7 * 7
    ordered = weight.reshape(weight.shape[0], -1, cells).transpose(2, 1, 0).reshape(-1, weight.shape[0])
    foreign.put(layer, name, kernel=ordered, bias=tensors.take(f"{name}.bias"))


def read_norm(tensors: Tensors, name: str, epsilon: float) -> BatchNorm:
    """Returns a batch norm, frozen or not."""
    gamma, beta, mean, variance = (tensors.take(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var"))
    return BatchNorm(gamma, beta, mean, variance, epsilon)


def put_folded(foreign: Foreign, tensors: Tensors, layer: str, conv: str, norm: str, epsilon: float) -> None:
    """Adds a convolution with the batch norm behind it, as one with a bias."""
    weights, bias = read_norm(tensors, norm, epsilon).fold(kernel(tensors.take(f"{conv}.weight")))
    foreign.put(layer, conv, kernel=weights, bias=bias)


def put_box_codes(foreign: Foreign, layer: str, name: str, weights: np.ndarray, bias: np.ndarray) -> None:
    """Adds a layer whose outputs are box codes.

    Args:
      foreign: gets it.
      layer: our name.
      name: in the file.
      weights: [..., 4 * N], the last axis in PyTorch's order of codes.
      bias: [4 * N].
    """
    ordered = weights.reshape(*weights.shape[:-1], -1, 4)[..., _CODE].reshape(weights.shape)
    foreign.put(layer, name, kernel=ordered, bias=bias.reshape(-1, 4)[:, _CODE].reshape(-1))


def put_resnet(foreign: Foreign, tensors: Tensors, stem: tuple[str, str], stages: list[str], names: dict, epsilon: float) -> None:
    """Adds a ResNet with the plain stem.

    Args:
      foreign: gets it, and the depth that it requires.
      tensors: of the file.
      stem: names of the stem's convolution and norm.
      stages: the four stages' prefixes; blocks are numbered behind them.
      names: of a block's convolution and norm by our names of the parts.
      epsilon: of the norms.

    Raises:
      ValueError: it is a ResNet that is not here.
    """
    foreign.required["backbone.resnet.depth"] = _depth(tensors, stages, names)
    layers = {"backbone/stem/0": stem}
    for stage, prefix in enumerate(stages):
        for block in range(_num_blocks(tensors, prefix)):
            for part, (conv, norm) in names.items():
                if f"{prefix}.{block}.{conv}.weight" in tensors:
                    layers[f"backbone/stages/{stage}/{block}/{part}"] = (f"{prefix}.{block}.{conv}", f"{prefix}.{block}.{norm}")
    for layer, (conv, norm) in layers.items():
        put_conv(foreign, tensors, f"{layer}/conv", conv)
        foreign.put_norm(f"{layer}/norm", norm, read_norm(tensors, norm, epsilon))


def _num_blocks(tensors: Tensors, prefix: str) -> int:
    return len({name.removeprefix(f"{prefix}.").partition(".")[0] for name in tensors.names(f"{prefix}.")})


def _depth(tensors: Tensors, stages: list[str], names: dict) -> int:
    """Returns the depth; raises ValueError for networks that there is no configuration for."""
    blocks = tuple(_num_blocks(tensors, prefix) for prefix in stages)
    conv2, conv3 = (tensors.shape(f"{stages[0]}.0.{names[part][0]}.weight") for part in ("spatial", "expand"))
    refused = ""
    if not conv3:
        refused = "a ResNet of basic blocks (18 or 34 layers)"
    elif blocks not in _NUM_BLOCKS:
        refused = _OTHER_RESNETS.get(blocks, f"a ResNet with {', '.join(map(str, blocks))} blocks")
    elif conv2[0] != conv2[1]:
        refused = "a ResNeXt, whose convolutions have groups"
    elif conv2[0] != 64:
        refused = "a wide ResNet"
    if refused:
        raise ValueError(f"{tensors.path} holds {refused}; there are ResNet-50 and ResNet-101 here")
    return _NUM_BLOCKS[blocks]

