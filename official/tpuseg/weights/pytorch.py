"""Layers as PyTorch lays them out, for the readers of what was trained with it.

Kernels are [out, in, height, width] there, ours [height, width, in, out]; box codes are (dx, dy, dw, dh) there, ours
(dy, dx, dh, dw); rois are flattened filter, row, column there, ours row, column, filter.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tpuseg.weights import safe_pickle, safetensors
from tpuseg.weights.external import BatchNorm, ExternalWeights, Tensors, printable

ENDINGS = (".pth", ".pt", ".safetensors")
# Where training scripts put the network, best first: averages of weights only if there is nothing else.
_KEYS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "weights", "params", "module", "", "backbone"),
    *("teacher", "model_ema", "state_dict_ema", "ema_state_dict", "ema", "averaged_model"),
)
_NO_NETWORKS = ("optim", "lr_scheduler", "scheduler", "scaler", "amp", "grad_scaler")
# A tensor's name in each of the known networks: detectron2's and torchvision's Mask R-CNN, torchvision's ResNet.
_SIGNATURES = ("backbone.bottom_up.stem.conv1.weight", "rpn.head.cls_logits.weight", "layer1.0.conv1.weight")
_CODE = [1, 0, 3, 2]
_NUM_BLOCKS: dict[tuple[int, ...], int] = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}
_OTHER_RESNETS: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "ResNet-18", (3, 8, 36, 3): "ResNet-152"}


def read(path: str) -> Tensors:
    """Returns the network of a .pth, .pt or .safetensors file.

    Raises:
      ValueError: the file is damaged, contains other objects than tensors, or has no state dictionary.
    """
    return state_dict(path, safetensors.load(path) if path.endswith(".safetensors") else safe_pickle.load(path))


def state_dict(path: str, tree: object) -> Tensors:
    """Returns the tensors by name, wherever a training script put them.

    Raises:
      ValueError: there are no tensors, or they belong to several networks.
    """
    found = _dictionaries_of_tensors(tree)
    if not found:
        keys = ", ".join(printable(str(key)) for key in list(tree)[:8]) if isinstance(tree, dict) else ""
        raise ValueError(
            f"{path} contains no dictionary of tensors"
            + (f", only {keys or 'an empty dictionary'}" if isinstance(tree, dict) else "")
            + "; save one with torch.save(model.state_dict(), FILE)"
        )
    place = min(found, key=lambda place: _preference(place, found[place]))
    others = [f"{place} ({len(tensors)} tensors)" for place, tensors in found.items() if place and len(tensors) > 1]
    others = [printable(other) for other in others if not other.startswith(f"{place} (")]
    return Tensors(path, _without_prefix(path, found[place]), others)


def _dictionaries_of_tensors(tree: object) -> dict[str, dict[str, np.ndarray]]:
    """Returns every dictionary that holds tensors by its place in the file, `` for the outermost; none of an optimizer's."""
    found: dict[str, dict[str, np.ndarray]] = {}
    seen: set[int] = set()
    queue: list[tuple[str, Any]] = [("", tree)]
    while queue:
        place, node = queue.pop(0)
        if not isinstance(node, dict) or id(node) in seen or place.rpartition("/")[2].startswith(_NO_NETWORKS):
            continue
        seen.add(id(node))
        tensors = {name: value for name, value in node.items() if isinstance(value, np.ndarray)}
        if tensors:
            found[place] = tensors
        queue += [(f"{place}/{printable(key)}".removeprefix("/"), value) for key, value in node.items() if isinstance(value, dict)]
    return found


def _preference(place: str, tensors: dict[str, np.ndarray]) -> tuple[bool, int, int]:
    """Returns what is smallest for the dictionary that is the network: a known one, under the best key, with the most tensors."""
    key = place.rpartition("/")[2]
    return not _roots(tensors), _KEYS.index(key) if key in _KEYS else len(_KEYS), -len(tensors)


def _roots(names: Iterable[str]) -> set[str]:
    """Returns what stands in front of the names of the networks that are known here: `model.encoder.`, usually nothing."""
    for part in _SIGNATURES:
        roots = {name.removesuffix(part) for name in names if name.endswith(part)}
        roots = {root for root in roots if not root or root.endswith(".")}
        if roots:
            return roots
    return set()


def _without_prefix(path: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns tensors without what DataParallel, torch.compile, Lightning and others put in front of their names.

    Raises:
      ValueError: there are several networks, or two tensors would get one name.
    """
    roots = _roots(tensors)
    if len(roots) > 1:
        shown = ", ".join(printable(root or "(no prefix)") for root in sorted(roots)[:4])
        raise ValueError(f"{path} holds {len(roots)} networks, whose tensors begin with {shown}; save one of them alone")
    prefix = roots.pop() if roots else "module."
    if prefix.endswith("backbone."):
        prefix = prefix.removesuffix("backbone.")  # The prefix identifies torchvision's segmentation models.
    shortened = {name.removeprefix(prefix): value for name, value in tensors.items()}
    if len(shortened) < len(tensors):
        raise ValueError(f"{path} has tensors of equal names with and without {printable(prefix)} in front; save one network alone")
    return shortened


def kernel(weight: np.ndarray) -> np.ndarray:
    """Returns a convolution's kernel in our layout."""
    return weight.transpose(2, 3, 1, 0)


def put_conv(external: ExternalWeights, tensors: Tensors, layer: str, name: str) -> None:
    """Adds a convolution, with its bias if there is one."""
    values = {"kernel": kernel(tensors.take(f"{name}.weight"))}
    if f"{name}.bias" in tensors:
        values["bias"] = tensors.take(f"{name}.bias")
    external.put(layer, name, **values)


def put_dense(external: ExternalWeights, tensors: Tensors, layer: str, name: str) -> None:
    """Adds a fully connected layer."""
    external.put(layer, name, kernel=tensors.take(f"{name}.weight").T, bias=tensors.take(f"{name}.bias"))


def put_dense_of_rois(external: ExternalWeights, tensors: Tensors, layer: str, name: str) -> None:
    """Adds the fully connected layer that takes flattened rois, [units, C * S * S]."""
    weight = tensors.take(f"{name}.weight")
    cells = 7 * 7
    ordered = weight.reshape(weight.shape[0], -1, cells).transpose(2, 1, 0).reshape(-1, weight.shape[0])
    external.put(layer, name, kernel=ordered, bias=tensors.take(f"{name}.bias"))


def read_norm(tensors: Tensors, name: str, epsilon: float) -> BatchNorm:
    """Returns a batch norm, frozen or not."""
    gamma, beta, mean, variance = (tensors.take(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var"))
    return BatchNorm(gamma, beta, mean, variance, epsilon)


def put_folded(external: ExternalWeights, tensors: Tensors, layer: str, conv: str, norm: str, epsilon: float) -> None:
    """Adds a convolution with the batch norm behind it, as one with a bias."""
    weights, bias = read_norm(tensors, norm, epsilon).fold(kernel(tensors.take(f"{conv}.weight")))
    external.put(layer, conv, kernel=weights, bias=bias)


def put_box_codes(external: ExternalWeights, layer: str, name: str, weights: np.ndarray, bias: np.ndarray) -> None:
    """Adds a layer whose outputs are box codes.

    Args:
      external: gets it.
      layer: our name.
      name: name in the file.
      weights: [..., 4 * N], the last axis in PyTorch's order of codes.
      bias: [4 * N].
    """
    ordered = weights.reshape(*weights.shape[:-1], -1, 4)[..., _CODE].reshape(weights.shape)
    external.put(layer, name, kernel=ordered, bias=bias.reshape(-1, 4)[:, _CODE].reshape(-1))


def put_resnet(
    external: ExternalWeights, tensors: Tensors, stem: tuple[str, str], stages: list[str], names: dict, epsilon: float
) -> None:
    """Adds a ResNet with the plain stem.

    Args:
      external: gets it, and the depth that it requires.
      tensors: tensors of the file.
      stem: names of the stem's convolution and norm.
      stages: the four stages' prefixes; blocks are numbered behind them.
      names: names of a block's convolution and norm, by this project's names of the parts.
      epsilon: epsilon of the norms.

    Raises:
      ValueError: the ResNet is not supported.
    """
    external.required["backbone.resnet.depth"] = _depth(tensors, stages, names)
    layers = {"backbone/stem/0": stem}
    for stage, prefix in enumerate(stages):
        for block in range(_num_blocks(tensors, prefix)):
            for part, (conv, norm) in names.items():
                if f"{prefix}.{block}.{conv}.weight" in tensors:
                    layers[f"backbone/stages/{stage}/{block}/{part}"] = (f"{prefix}.{block}.{conv}", f"{prefix}.{block}.{norm}")
    for layer, (conv, norm) in layers.items():
        put_conv(external, tensors, f"{layer}/conv", conv)
        external.put_norm(f"{layer}/norm", norm, read_norm(tensors, norm, epsilon))


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
        raise ValueError(f"{tensors.path} holds {refused}; supported are ResNet-50 and ResNet-101")
    return _NUM_BLOCKS[blocks]

