"""Checkpoints of the Model Garden (tf-models-official): ResNets, `seg_deeplabv3plus_*` and `maskrcnn_resnetfpn_*`.

Its layers have numbers in a checkpoint's names, in the order in which images go through them. The activation and the norms'
epsilon are not in a checkpoint: they are read from the `params.yaml` that its trainer writes beside it, or are those of its
experiments.
"""

import re
from typing import Any

import numpy as np

from tpuseg.io import checkpoints, yaml_files
from tpuseg.utils import private_apis
from tpuseg.weights import coco_classes
from tpuseg.weights.external import BatchNorm, ExternalWeights, Tensors

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ROOTS = ("backbone", "decoder", "head", "detection_head", "mask_head", "rpn_head")
_BLOCK = {
    "shortcut": ("_shortcut", "_norm0"),
    "reduce": ("_conv1", "_norm1"),
    "spatial": ("_conv2", "_norm2"),
    "expand": ("_conv3", "_norm3"),
}
_DEPTHS = {6: 50, 23: 101}
# What the Model Garden's experiments have, where no params.yaml says otherwise: (activation, epsilon).
_OF_EXPERIMENT = {"resnet": ("relu", 1e-5), "seg_deeplabv3plus": ("swish", 1e-3), "maskrcnn_resnetfpn": ("relu", 1e-4)}


def is_one(prefix: str) -> bool:
    """Returns whether a checkpoint has the Model Garden's names."""
    names = checkpoints.open_reader(prefix).get_variable_to_shape_map()
    return any(re.match(r"(model/)?backbone/layer_with_weights-\d+/", name) for name in names)


def read(prefix: str) -> ExternalWeights:
    """Reads a checkpoint.

    Raises:
      ValueError: the weights are those of an unsupported network.
    """
    tensors, full_names = _read(prefix)
    kind = "resnet"
    if tensors.names("head/"):
        kind = "seg_deeplabv3plus"
    elif tensors.names("detection_head/"):
        kind = "maskrcnn_resnetfpn"
    activation, epsilon, source = _activation_and_epsilon(prefix, kind)
    external = ExternalWeights(prefix, f"the Model Garden's {kind} (activation {activation}, epsilon {epsilon:g}: {source})")
    external.required = {
        "pixel_scaling": "imagenet",
        "backbone.type": "resnet",
        "backbone.resnet.stride_on": "3x3",
        "backbone.resnet.stride_at": "first",
        "activation": activation,
    }
    external.advised = {"backbone.resnet.padding": "same"}
    _put_backbone(external, tensors, epsilon)
    if kind == "seg_deeplabv3plus":
        _put_deeplab(external, tensors, epsilon)
    if kind == "maskrcnn_resnetfpn":
        _put_maskrcnn(external, tensors, full_names, epsilon)
    external.unused = sorted({name.rpartition("/")[0] for name in tensors.unused()})
    return external


def _read(prefix: str) -> tuple[Tensors, dict[str, str]]:
    """Returns the weights by their place in the model, and these places by the variables' own names."""
    reader = checkpoints.open_reader(prefix)
    values = {}
    for key in reader.get_variable_to_shape_map():
        name = key.removesuffix(_VALUE).removeprefix("model/")
        if key.endswith(_VALUE) and ".OPTIMIZER_SLOT" not in key and name.partition("/")[0] in _ROOTS:
            values[name] = reader.get_tensor(key)
    graph = private_apis.object_graph(reader.get_tensor(_GRAPH))
    attributes = [attribute for node in graph.nodes for attribute in node.attributes]
    full_names = {
        attribute.full_name: attribute.checkpoint_key.removesuffix(_VALUE).removeprefix("model/") for attribute in attributes
    }
    return Tensors(prefix, values), full_names


def _activation_and_epsilon(prefix: str, kind: str) -> tuple[str, float, str]:
    """Returns both, and where they are from."""
    path = checkpoints.find_beside(prefix, "params.yaml")
    if path is None:
        return *_OF_EXPERIMENT[kind], "its experiments' values, as there is no params.yaml beside it"
    norm = _look_up(path, "task", "model", "norm_activation")
    return norm.get("activation", "relu"), float(norm.get("norm_epsilon", 1e-3)), f"from {path}"


def _look_up(path: str, *keys: str) -> dict[str, Any]:
    value: Any = yaml_files.read(path).values
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _norm(tensors: Tensors, name: str, epsilon: float) -> BatchNorm:
    gamma, beta, mean, variance = (tensors.take(f"{name}/{part}") for part in ("gamma", "beta", "moving_mean", "moving_variance"))
    return BatchNorm(gamma, beta, mean, variance, epsilon)


def _put_conv_norm(external: ExternalWeights, tensors: Tensors, layer: str, conv: str, norm: str, epsilon: float) -> None:
    external.put(f"{layer}/conv", conv, kernel=tensors.take(f"{conv}/kernel"))
    external.put_norm(f"{layer}/norm", norm, _norm(tensors, norm, epsilon))


def _put_folded(external: ExternalWeights, tensors: Tensors, layer: str, conv: str, norm: str, epsilon: float) -> None:
    """Adds a layer with the norm behind it as one."""
    kernel = tensors.take(f"{conv}/kernel")
    if layer == "mask_head/upsampling":
        kernel = kernel.transpose(0, 1, 3, 2)  # Keras' deconvolutions are [height, width, out, in].
    kernel, bias = _norm(tensors, norm, epsilon).fold(kernel, tensors.take(f"{conv}/bias"))
    external.put(layer, conv, kernel=kernel, bias=bias)


def _put_backbone(external: ExternalWeights, tensors: Tensors, epsilon: float) -> None:
    numbers = {int(re.findall(r"\d+", name)[0]) for name in tensors.names("backbone/layer_with_weights-")}
    names = [f"backbone/layer_with_weights-{number}" for number in sorted(numbers)]
    blocks = [name for name in names if f"{name}/_conv1/kernel" in tensors]
    stem = [name for name in names if name not in blocks]
    stages: dict[int, list[str]] = {}
    for name in blocks:
        shape = tensors.shape(f"{name}/_conv3/kernel")
        stages.setdefault(shape[-1] if shape else 0, []).append(name)
    _check_backbone(tensors, stem, stages)
    external.required["backbone.resnet.depth"] = _DEPTHS[len(stages[1024])]
    external.required["backbone.resnet.stem"] = "plain" if len(stem) == 2 else "beta"
    for number in range(0, len(stem), 2):
        _put_conv_norm(external, tensors, f"backbone/stem/{number // 2}", stem[number], stem[number + 1], epsilon)
    for stage, filters in enumerate(sorted(stages)):
        for block, name in enumerate(stages[filters]):
            for part, (conv, norm) in _BLOCK.items():
                if f"{name}/{conv}/kernel" in tensors:
                    layer = f"backbone/stages/{stage}/{block}/{part}"
                    _put_conv_norm(external, tensors, layer, f"{name}/{conv}", f"{name}/{norm}", epsilon)


def _check_backbone(tensors: Tensors, stem: list[str], stages: dict[int, list[str]]) -> None:
    """Raises ValueError for unsupported backbones."""
    kernels = [tensors.shape(f"{name}/kernel") for name in stem if f"{name}/kernel" in tensors]
    refused = ""
    if sorted(stages) != [256, 512, 1024, 2048] or len(stages[1024]) not in _DEPTHS:
        refused = f"blocks of {sorted(stages)} filters"
    elif any("_squeeze_excitation" in name for name in tensors.names("backbone/")):
        refused = "squeeze and excitation (ResNet-RS)"
    elif kernels not in ([(7, 7, 3, 64)], [(3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 64, 128)]):
        refused = f"a stem of {kernels}"
    if refused:
        raise ValueError(f"{tensors.path} has a backbone with {refused}; supported are ResNet-50 and ResNet-101")


def _put_deeplab(external: ExternalWeights, tensors: Tensors, epsilon: float) -> None:
    if tensors.names("head/_panoptic_fpn_fusion") or not tensors.names("head/_dlv3p_conv"):
        raise ValueError(f"{tensors.path} has a segmentation head that is not DeepLab v3+'s")
    external.advised["output_stride"] = 16
    # Its last stage also dilates its first block: the first entry of the grid is doubled.
    external.advised["backbone.resnet.multi_grid"] = [2, 2, 4]
    spp, last = "decoder/aspp", "layer_with_weights"
    branches = {f"{spp}/aspp_layers/0": "aspp/pointwise", f"{spp}/aspp_layers/4/{last}-0": "aspp/pooling"}
    branches |= {f"{spp}/aspp_layers/{number}": f"aspp/atrous/{number - 1}" for number in (1, 2, 3)}
    branches[f"{spp}/projection"] = "aspp/projection"
    if f"{spp}/aspp_layers/1/{last}-0/depthwise_kernel" in tensors:
        external.refused["aspp/atrous"] = "its separable convolutions have no norm between the two, ours do"
        branches = {name: layer for name, layer in branches.items() if "atrous" not in layer}
    else:
        external.advised["aspp.separable"] = False
    for name, layer in branches.items():
        _put_conv_norm(external, tensors, layer, f"{name}/{last}-0", f"{name}/{last}-1", epsilon)
    _put_conv_norm(external, tensors, "decoder/low_level", "head/_dlv3p_conv", "head/_dlv3p_norm", epsilon)
    _put_refinement(external, tensors, epsilon)
    external.put(
        "classifier",
        "head/_classifier",
        kernel=tensors.take("head/_classifier/kernel"),
        bias=tensors.take("head/_classifier/bias"),
    )


def _put_refinement(external: ExternalWeights, tensors: Tensors, epsilon: float) -> None:
    """Adds the decoder's two convolutions, separable or not."""
    separable = "head/_convs/0/depthwise_kernel" in tensors
    external.advised["decoder.separable"] = separable
    for number in (0, 1):
        layer = f"decoder/refinement/{number}"
        if not separable:
            _put_conv_norm(external, tensors, layer, f"head/_convs/{number}", f"head/_norms/{number}", epsilon)
            continue
        depthwise, pointwise = f"head/_convs/{2 * number}", 2 * number + 1
        external.put(f"{layer}/depthwise/conv", depthwise, depthwise_kernel=tensors.take(f"{depthwise}/depthwise_kernel"))
        external.put_norm(f"{layer}/depthwise/norm", depthwise, _norm(tensors, f"head/_norms/{2 * number}", epsilon))
        _put_conv_norm(external, tensors, f"{layer}/pointwise", f"head/_convs/{pointwise}", f"head/_norms/{pointwise}", epsilon)


def _put_maskrcnn(external: ExternalWeights, tensors: Tensors, full_names: dict[str, str], epsilon: float) -> None:
    external.refused["rpn"] = "its RPN has a batch norm for each level, and P6 a convolution; ours have none"
    external.advised |= {
        "box_head.num_convs": 4,
        "box_head.num_dense": 1,
        "roi_align.aligned": False,
        "roi_align.sampling_ratio": 1,
    }
    places = {name.rpartition("/")[0]: place.rpartition("/")[0] for name, place in full_names.items()}
    for number, level in enumerate((2, 3, 4, 5)):
        lateral = places[f"lateral_{level}"]
        kernel, bias = tensors.take(f"{lateral}/kernel"), tensors.take(f"{lateral}/bias")
        external.put(f"fpn/lateral/{number}", lateral, kernel=kernel, bias=bias)
        names = places[f"post_hoc_{level}"], places[f"norm_{level}"]
        _put_folded(external, tensors, f"fpn/output_convs/{number}", *names, epsilon)
    box = "detection_head/0" if tensors.names("detection_head/0/") else "detection_head"
    for number in range(4):
        _put_folded(external, tensors, f"box_head/convs/{number}", f"{box}/_convs/{number}", f"{box}/_conv_norms/{number}", epsilon)
        names = f"mask_head/_convs/{number}", f"mask_head/_conv_norms/{number}"
        _put_folded(external, tensors, f"mask_head/convs/{number}", *names, epsilon)
    _put_folded(external, tensors, "box_head/dense/0", f"{box}/_fcs/0", f"{box}/_fc_norms/0", epsilon)
    _put_folded(external, tensors, "mask_head/upsampling", "mask_head/_deconv", "mask_head/_deconv_bn", epsilon)
    # The background is the first class: it is moved to the end, or removed where only objects have a class.
    for layer, name in (("box_head/classes", f"{box}/_classifier"), ("box_head/deltas", f"{box}/_box_regressor")):
        kernel, bias = tensors.take(f"{name}/kernel"), tensors.take(f"{name}/bias")
        if layer == "box_head/classes":
            external.put(layer, name, kernel=np.roll(kernel, -1, axis=-1), bias=np.roll(bias, -1))
        else:
            external.put(layer, name, kernel=kernel[:, 4:], bias=bias[4:])
    name = "mask_head/_mask_regressor"
    kernel, bias = tensors.take(f"{name}/kernel")[0, 0, :, 1:], tensors.take(f"{name}/bias")[1:]
    external.put("mask_head/classes", name, kernel=kernel, bias=bias)
    external.class_names = coco_classes.names_of(len(bias))
