"""Checkpoints of research/deeplab (TensorFlow 1): Xception-65, MobileNetV2, ResNet-50 and -101 beta, by their variables' names.

Its pyramid puts what it saw of the whole image in front of the other branches, ours behind them.
"""

import re

import numpy as np

from tpuseg.io import checkpoints
from tpuseg.weights.external import BatchNorm, ExternalWeights, Tensors

_XCEPTION, _MOBILENET = "xception_65/", "MobilenetV2/"
# Of the backbones, and of everything behind them.
_BACKBONE_EPSILON, _HEAD_EPSILON = 1e-3, 1e-5
# A ResNet's are the heads'.
_RESNETS = {"resnet_v1_50/": (50, 6), "resnet_v1_101/": (101, 23)}
_RESNET_PARTS = {"shortcut": "shortcut", "reduce": "conv1", "spatial": "conv2", "expand": "conv3"}
_POOLING_FILTERS = 256
_SLOTS = re.compile(r"/(Momentum|ExponentialMovingAverage|Adam(_1)?|RMSProp(_1)?)$")
_CLASSES = {
    21: "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant"
    " sheep sofa train tvmonitor",
}
_REFUSED = {
    "resnet_v1_18": "ResNet-18",
    "xception_71": "Xception-71",
    "xception_41": "Xception-41",
    "MobilenetV3": "MobileNetV3",
}


def is_one(prefix: str) -> bool:
    """Returns whether a checkpoint is TensorFlow 1's: it has variables' names, and no graph of objects."""
    return not any(".ATTRIBUTES" in name for name in checkpoints.open_reader(prefix).get_variable_to_shape_map())


def read(prefix: str) -> ExternalWeights:
    """Reads a checkpoint.

    Raises:
      ValueError: the weights are those of an unsupported network.
    """
    reader = checkpoints.open_reader(prefix)
    names = [name for name in reader.get_variable_to_shape_map() if not _SLOTS.search(name) and name != "global_step"]
    tensors = Tensors(prefix, {name: reader.get_tensor(name) for name in names})
    for root, what in _REFUSED.items():
        if tensors.names(root):
            raise ValueError(f"{prefix} holds {what}; supported are Xception-65, MobileNetV2 and ResNets with the beta stem")
    external = ExternalWeights(prefix, "research/deeplab's ")
    if tensors.names(_XCEPTION):
        _put_xception(external, tensors)
    elif tensors.names(_MOBILENET):
        _put_mobilenet(external, tensors)
    elif any(tensors.names(root) for root in _RESNETS):
        _put_resnet(external, tensors)
    else:
        raise ValueError(f"{prefix} is not a checkpoint of research/deeplab; it has {', '.join(names[:3]) or 'no variables'}")
    external.required.setdefault("pixel_scaling", "minus_one_to_one")
    _put_heads(external, tensors)
    external.unused = sorted({name.rpartition("/")[0] for name in tensors.unused()})
    return external


def _put_block(external: ExternalWeights, tensors: Tensors, layer: str, name: str, epsilon: float) -> None:
    """Adds a convolution and its norm, if there is one."""
    kind = "depthwise_weights" if f"{name}/depthwise_weights" in tensors else "weights"
    if f"{name}/{kind}" not in tensors:
        return
    ours = "depthwise_kernel" if kind == "depthwise_weights" else "kernel"
    external.put(f"{layer}/conv", name, **{ours: tensors.take(f"{name}/{kind}")})
    beta, mean, variance = (tensors.take(f"{name}/BatchNorm/{part}") for part in ("beta", "moving_mean", "moving_variance"))
    gamma = tensors.take(f"{name}/BatchNorm/gamma") if f"{name}/BatchNorm/gamma" in tensors else np.ones_like(beta)
    external.put_norm(f"{layer}/norm", f"{name}/BatchNorm", BatchNorm(gamma, beta, mean, variance, epsilon))


def _put_separable(external: ExternalWeights, tensors: Tensors, layer: str, name: str, epsilon: float) -> None:
    for part in ("depthwise", "pointwise"):
        _put_block(external, tensors, f"{layer}/{part}", f"{name}_{part}", epsilon)


def _put_xception(external: ExternalWeights, tensors: Tensors) -> None:
    external.what += "Xception-65"
    external.required["backbone.type"] = "xception65"
    for number in (1, 2):
        name = f"{_XCEPTION}entry_flow/conv1_{number}"
        _put_block(external, tensors, f"backbone/stem/{number - 1}", name, _BACKBONE_EPSILON)
    modules = {f"entry/{number}": f"entry_flow/block{number + 1}/unit_1" for number in range(3)}
    modules |= {f"middle/{number}": f"middle_flow/block1/unit_{number + 1}" for number in range(16)}
    modules |= {f"exit/{number}": f"exit_flow/block{number + 1}/unit_1" for number in range(2)}
    for ours, theirs in modules.items():
        module = f"{_XCEPTION}{theirs}/xception_module"
        for number in range(3):
            name = f"{module}/separable_conv{number + 1}"
            _put_separable(external, tensors, f"backbone/{ours}/convs/{number}", name, _BACKBONE_EPSILON)
        _put_block(external, tensors, f"backbone/{ours}/shortcut", f"{module}/shortcut", _BACKBONE_EPSILON)


def _put_mobilenet(external: ExternalWeights, tensors: Tensors) -> None:
    external.what += "MobileNetV2"
    external.required["backbone.type"] = "mobilenet_v2"
    shape = tensors.shape(f"{_MOBILENET}expanded_conv_1/project/weights")
    if shape and shape[-1] % 8:
        # Of the paper's 24 filters: Keras rounds to multiples of 8, research/deeplab does not.
        external.required["backbone.mobilenet_v2.width_multiplier"] = round(shape[-1] / 24, 2)
        external.required["backbone.mobilenet_v2.divisor"] = 1
    _put_block(external, tensors, "backbone/stem", f"{_MOBILENET}Conv", _BACKBONE_EPSILON)
    for number in range(17):
        block = f"{_MOBILENET}expanded_conv" + (f"_{number}" if number else "")
        for part in ("expand", "depthwise", "project"):
            _put_block(external, tensors, f"backbone/blocks/{number}/{part}", f"{block}/{part}", _BACKBONE_EPSILON)


def _put_resnet(external: ExternalWeights, tensors: Tensors) -> None:
    root = next(root for root in _RESNETS if tensors.names(root))
    depth, num_blocks = _RESNETS[root]
    if f"{root}conv1_1/weights" not in tensors:
        raise ValueError(f"{tensors.path} holds a ResNet-{depth} with a 7x7 stem; only its beta stem is supported")
    external.what += f"ResNet-{depth} beta"
    external.required |= {
        "pixel_scaling": "research_deeplab",
        "backbone.type": "resnet",
        "backbone.resnet.depth": depth,
        "backbone.resnet.stem": "beta",
        "backbone.resnet.stride_on": "3x3",
        "backbone.resnet.stride_at": "last",
    }
    external.advised["backbone.resnet.padding"] = "symmetric"
    for number in range(3):
        _put_block(external, tensors, f"backbone/stem/{number}", f"{root}conv1_{number + 1}", _HEAD_EPSILON)
    for stage, count in enumerate((3, 4, num_blocks, 3)):
        for block in range(count):
            unit = f"{root}block{stage + 1}/unit_{block + 1}/bottleneck_v1"
            for ours, theirs in _RESNET_PARTS.items():
                _put_block(external, tensors, f"backbone/stages/{stage}/{block}/{ours}", f"{unit}/{theirs}", _HEAD_EPSILON)


def _put_heads(external: ExternalWeights, tensors: Tensors) -> None:
    _put_block(external, tensors, "aspp/pointwise", "aspp0", _HEAD_EPSILON)
    _put_block(external, tensors, "aspp/pooling", "image_pooling", _HEAD_EPSILON)
    for number in (1, 2, 3):
        _put_separable(external, tensors, f"aspp/atrous/{number - 1}", f"aspp{number}", _HEAD_EPSILON)
    _put_block(external, tensors, "aspp/projection", "concat_projection", _HEAD_EPSILON)
    if "aspp/projection/conv/kernel" in external.values:
        kernel = external.values["aspp/projection/conv/kernel"]
        external.values["aspp/projection/conv/kernel"] = np.roll(kernel, -_POOLING_FILTERS, axis=2)
    _put_block(external, tensors, "decoder/low_level", "decoder/feature_projection0", _HEAD_EPSILON)
    for number in (0, 1):
        _put_separable(external, tensors, f"decoder/refinement/{number}", f"decoder/decoder_conv{number}", _HEAD_EPSILON)
    if "aspp/projection/conv/kernel" in external.values and "aspp/atrous/0/depthwise/conv/depthwise_kernel" not in external.values:
        external.advised["aspp.atrous_rates"] = []
    name = "logits/semantic"
    if f"{name}/weights" in tensors and "decoder/low_level/conv/kernel" not in external.values:
        external.advised["decoder.type"] = "none"
    if f"{name}/weights" in tensors:
        kernel, bias = tensors.take(f"{name}/weights"), tensors.take(f"{name}/biases")
        external.put("classifier", name, kernel=kernel, bias=bias)
        external.class_names = list(_CLASSES[len(bias)].split()) if len(bias) in _CLASSES else None
