"""Keras Applications' weights: ResNet-50 and -101, MobileNetV2; from HDF5 files, or downloaded by the name `imagenet`."""

import re
import socket
from typing import Any

import tf_keras

from tpuseg.configs import schema
from tpuseg.weights import hdf5
from tpuseg.weights.external import BatchNorm, ExternalWeights, Tensors

ENDINGS = (".h5", ".hdf5")
IMAGENET = "imagenet"
_SECONDS = 30  # Timeout of the server's response.
_RESNET_PARTS = {"0": "shortcut", "1": "reduce", "2": "spatial", "3": "expand"}
_RESNET_DEPTHS = {6: 50, 23: 101}
_RESNET_EPSILON, _MOBILENET_EPSILON = 1.001e-5, 1e-3
# Unsupported networks, by the name of a layer that only they have.
_OTHERS = {
    "block14_sepconv2": "Xception, another network than DeepLab's aligned Xception-65",
    "post_bn": "a ResNet V2, which normalises before it convolves",
    "conv3_block8_1_conv": "ResNet-152",
    "conv_pw_13": "the first MobileNet",
    "block5_conv3": "VGG",
    "top_conv": "EfficientNet",
}


def read(path: str) -> ExternalWeights:
    """Reads a weights file with or without the classifier, or a whole saved model in HDF5.

    Keras Applications' ResNets have a bias in front of every batch norm, which only shifts the norm's mean; the backbones here
    have none, so the bias is taken off the moving mean instead.

    Raises:
      ValueError: the file is not a Keras HDF5 file, or an unsupported network.
    """
    return _translate(Tensors(path, hdf5.read(path)))


def download(settings: schema.InputConfig) -> ExternalWeights:
    """Returns the ImageNet weights of the backbone that `task.model` asks for; Keras keeps them in ~/.keras.

    Raises:
      ValueError: there are no such weights for this backbone, or they cannot be downloaded.
    """
    backbone = settings.backbone
    alternatives = (
        "--params_override=task.init_checkpoint=FILE (docs/weights.md says which files), or start from random weights with"
        " --params_override=task.init_checkpoint="
    )
    options: dict[str, Any] = {}
    if backbone.type == "mobilenet_v2":
        name, options = "MobileNetV2", {"alpha": backbone.mobilenet_v2.width_multiplier}
    elif backbone.type == "resnet" and backbone.resnet.stem == "plain":
        name = f"ResNet{backbone.resnet.depth}"
    else:
        raise ValueError(
            f"init_checkpoint: there are no ImageNet weights of Keras Applications for {backbone.type}"
            + (" with the beta stem" if backbone.type == "resnet" else "")
            + f"; give {alternatives}"
        )
    print(f"initial weights: {name} of Keras Applications, trained on ImageNet; downloaded once into ~/.keras/models", flush=True)
    before = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(_SECONDS)  # Otherwise the download would never end if the network drops packets.
        model = getattr(tf_keras.applications, name)(include_top=False, weights=IMAGENET, input_shape=(224, 224, 3), **options)
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        said = " ".join(str(error).split())[:300]
        raise ValueError(
            f"init_checkpoint: the {IMAGENET} weights of {name} could not be downloaded ({said}); without a network,"
            f" download that file elsewhere and give {alternatives}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    values = {f"{layer.name}/{_last_part(weight.name)}": weight.numpy() for layer in model.layers for weight in layer.weights}
    return _translate(Tensors(IMAGENET, values))


def _translate(tensors: Tensors) -> ExternalWeights:
    path = tensors.path
    layers = {name.rpartition("/")[0] for name in tensors.names()}
    for layer, what in _OTHERS.items():
        if layer in layers:
            raise ValueError(f"{path} holds {what}; supported are ResNet-50, ResNet-101 and MobileNetV2")
    external = _resnet(tensors, layers) if "conv2_block1_1_conv" in layers else _mobilenet(tensors, layers)
    external.unused = sorted({name.rpartition("/")[0] for name in tensors.unused()})
    return external


def _resnet(tensors: Tensors, layers: set[str]) -> ExternalWeights:
    depth = _RESNET_DEPTHS.get(sum(re.fullmatch(r"conv4_block\d+_1_conv", layer) is not None for layer in layers), 0)
    if not depth:
        raise ValueError(f"{tensors.path} holds a ResNet whose depth is neither 50 nor 101")
    external = ExternalWeights(tensors.path, f"Keras Applications' ResNet-{depth}")
    external.required = {
        "pixel_scaling": "caffe",
        "backbone.type": "resnet",
        "backbone.resnet.depth": depth,
        "backbone.resnet.stem": "plain",
        "backbone.resnet.stride_on": "1x1",
        "backbone.resnet.stride_at": "first",
    }
    external.advised = {"backbone.resnet.padding": "symmetric"}
    for layer in sorted(layers):
        match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_conv", layer)
        if layer == "conv1_conv":
            ours = "backbone/stem/0"
        elif match:
            ours = f"backbone/stages/{int(match[1]) - 2}/{int(match[2]) - 1}/{_RESNET_PARTS[match[3]]}"
        else:
            continue
        _put_conv(external, tensors, ours, layer, layer.removesuffix("_conv") + "_bn", _RESNET_EPSILON)
    return external


def _mobilenet(tensors: Tensors, layers: set[str]) -> ExternalWeights:
    external = ExternalWeights(tensors.path, "Keras Applications' MobileNetV2")
    external.required = {"pixel_scaling": "minus_one_to_one", "backbone.type": "mobilenet_v2"}
    for layer in sorted(layers):
        match = re.fullmatch(r"(expanded_conv|block_(\d+))_(expand|depthwise|project)", layer)
        if layer == "Conv1":
            ours, norm = "backbone/stem", "bn_Conv1"
        elif match:
            ours, norm = f"backbone/blocks/{match[2] or 0}/{match[3]}", f"{layer}_BN"
        else:
            continue
        _put_conv(external, tensors, ours, layer, norm, _MOBILENET_EPSILON)
    return external


def _put_conv(external: ExternalWeights, tensors: Tensors, ours: str, conv: str, norm: str, epsilon: float) -> None:
    """Adds a convolution and its norm."""
    kernel = "depthwise_kernel" if f"{conv}/depthwise_kernel" in tensors else "kernel"
    external.put(f"{ours}/conv", conv, **{kernel: tensors.take(f"{conv}/{kernel}")})
    gamma, beta, mean, variance = (tensors.take(f"{norm}/{part}") for part in ("gamma", "beta", "moving_mean", "moving_variance"))
    if f"{conv}/bias" in tensors:
        mean = mean - tensors.take(f"{conv}/bias")
    external.put_norm(f"{ours}/norm", norm, BatchNorm(gamma, beta, mean, variance, epsilon))


def _last_part(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]
