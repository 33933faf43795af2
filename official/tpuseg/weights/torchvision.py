"""torchvision's ResNets, Mask R-CNNs (both versions) and DeepLab v3's backbones, from .pth or .safetensors.

The second Mask R-CNN has batch norm in the pyramid and the heads, which goes into the convolutions in front of it, and another
number of layers in the heads, which `rpn.num_convs`, `box_head.num_convs` and `box_head.num_dense` ask for.
"""

import hashlib

import numpy as np
import tensorflow as tf

from tpuseg.weights import coco_classes, pytorch
from tpuseg.weights.external import ExternalWeights, Tensors

_EPSILON = 1e-5
# The first Mask R-CNN was trained without an epsilon, and torchvision sets it so for this one file, known by its hash.
_WITHOUT_EPSILON = "bf2d0c1e"
_STAGES = ("layer1", "layer2", "layer3", "layer4")
_BLOCK = {
    "reduce": ("conv1", "bn1"),
    "spatial": ("conv2", "bn2"),
    "expand": ("conv3", "bn3"),
    "shortcut": ("downsample.0", "downsample.1"),
}
_ASPECT_RATIOS = (0.5, 1.0, 2.0)


def translate(tensors: Tensors) -> ExternalWeights:
    """Brings torchvision's names and layouts to ours.

    Raises:
      ValueError: the network is not supported.
    """
    epsilon = 0.0 if _is_without_epsilon(tensors.path) else _EPSILON
    if "rpn.head.cls_logits.weight" in tensors:
        return _mask_rcnn(tensors, epsilon)
    if "conv1.weight" in tensors:
        return _backbone(ExternalWeights(tensors.path, "torchvision's ResNet-"), tensors, "", epsilon)
    if "backbone.conv1.weight" in tensors:
        what = "the backbone of torchvision's segmentation model, ResNet-"
        return _backbone(ExternalWeights(tensors.path, what), tensors, "backbone.", epsilon)
    some = ", ".join(tensors.names()[:3])
    raise ValueError(f"{tensors.path} is not a ResNet, Mask R-CNN or DeepLab of torchvision; it has {some}, ...")


def _is_without_epsilon(path: str) -> bool:
    with tf.io.gfile.GFile(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest().startswith(_WITHOUT_EPSILON)


def _backbone(external: ExternalWeights, tensors: Tensors, prefix: str, epsilon: float) -> ExternalWeights:
    stages = [f"{prefix}{stage}" for stage in _STAGES]
    external.required |= {
        "pixel_scaling": "imagenet",
        "backbone.type": "resnet",
        "backbone.resnet.stem": "plain",
        "backbone.resnet.stride_on": "3x3",
        "backbone.resnet.stride_at": "first",
    }
    external.advised["backbone.resnet.padding"] = "symmetric"
    pytorch.put_resnet(external, tensors, (f"{prefix}conv1", f"{prefix}bn1"), stages, _BLOCK, epsilon)
    external.what = f"{external.what}{external.required['backbone.resnet.depth']}"
    external.unused = tensors.unused()
    return external


def _mask_rcnn(tensors: Tensors, epsilon: float) -> ExternalWeights:
    is_second = "rpn.head.conv.1.0.weight" in tensors
    external = ExternalWeights(tensors.path, f"torchvision's Mask R-CNN{' v2' if is_second else ''} with ResNet-")
    external.aspect_ratios = _ASPECT_RATIOS
    external.advised = {
        "rpn.anchors.sizes": [32.0, 64.0, 128.0, 256.0, 512.0],
        "rpn.anchors.offset": 0.0,
        "rpn.anchors.rounded": True,
        "roi_align.aligned": False,
        "roi_align.sampling_ratio": 2,
        "rpn.num_convs": 2 if is_second else 1,
        "box_head.num_convs": 4 if is_second else 0,
        "box_head.num_dense": 1 if is_second else 2,
    }
    for level in range(4):
        _put_conv(external, tensors, f"fpn/lateral/{level}", f"backbone.fpn.inner_blocks.{level}")
        _put_conv(external, tensors, f"fpn/output_convs/{level}", f"backbone.fpn.layer_blocks.{level}")
    _put_rpn(external, tensors)
    _put_box_head(external, tensors, is_second)
    _put_mask_head(external, tensors)
    external.class_names = coco_classes.names_of(external.values["mask_head/classes/bias"].shape[0])
    return _backbone(external, tensors, "backbone.body.", epsilon)


def _put_conv(external: ExternalWeights, tensors: Tensors, layer: str, name: str) -> None:
    """Adds one of torchvision's blocks: a convolution, and a batch norm or none."""
    if f"{name}.1.running_mean" in tensors:
        pytorch.put_folded(external, tensors, layer, f"{name}.0", f"{name}.1", _EPSILON)
    else:
        # Files from before version 0.13 have the pyramid's and heads' convolutions without the block around them.
        pytorch.put_conv(external, tensors, layer, f"{name}.0" if f"{name}.0.weight" in tensors else name)


def _put_rpn(external: ExternalWeights, tensors: Tensors) -> None:
    if "rpn.head.conv.weight" in tensors:
        pytorch.put_conv(external, tensors, "rpn/conv", "rpn.head.conv")
    else:
        pytorch.put_conv(external, tensors, "rpn/conv", "rpn.head.conv.0.0")
    if "rpn.head.conv.1.0.weight" in tensors:
        pytorch.put_conv(external, tensors, "rpn/more_convs/0", "rpn.head.conv.1.0")
    pytorch.put_conv(external, tensors, "rpn/objectness", "rpn.head.cls_logits")
    deltas = "rpn.head.bbox_pred"
    weights = pytorch.kernel(tensors.take(f"{deltas}.weight"))
    pytorch.put_box_codes(external, "rpn/deltas", deltas, weights, tensors.take(f"{deltas}.bias"))


def _put_box_head(external: ExternalWeights, tensors: Tensors, is_second: bool) -> None:
    head, predictor = "roi_heads.box_head", "roi_heads.box_predictor"
    if is_second:
        for number in range(4):
            _put_conv(external, tensors, f"box_head/convs/{number}", f"{head}.{number}")
        pytorch.put_dense_of_rois(external, tensors, "box_head/dense/0", f"{head}.5")
    else:
        pytorch.put_dense_of_rois(external, tensors, "box_head/dense/0", f"{head}.fc6")
        pytorch.put_dense(external, tensors, "box_head/dense/1", f"{head}.fc7")
    weights, bias = tensors.take(f"{predictor}.cls_score.weight"), tensors.take(f"{predictor}.cls_score.bias")
    # The background is moved from the first place to the last, and its boxes are removed.
    external.put("box_head/classes", f"{predictor}.cls_score", kernel=np.roll(weights, -1, axis=0).T, bias=np.roll(bias, -1))
    weights, bias = tensors.take(f"{predictor}.bbox_pred.weight"), tensors.take(f"{predictor}.bbox_pred.bias")
    pytorch.put_box_codes(external, "box_head/deltas", f"{predictor}.bbox_pred", weights[4:].T, bias[4:])


def _put_mask_head(external: ExternalWeights, tensors: Tensors) -> None:
    head, predictor = "roi_heads.mask_head", "roi_heads.mask_predictor"
    for number in range(4):
        old = f"{head}.mask_fcn{number + 1}"
        _put_conv(external, tensors, f"mask_head/convs/{number}", old if f"{old}.weight" in tensors else f"{head}.{number}")
    name = f"{predictor}.conv5_mask"
    kernel = tensors.take(f"{name}.weight").transpose(2, 3, 0, 1)  # Deconvolutions are [in, out, height, width].
    external.put("mask_head/upsampling", name, kernel=kernel, bias=tensors.take(f"{name}.bias"))
    name = f"{predictor}.mask_fcn_logits"
    weights = tensors.take(f"{name}.weight")[1:, :, 0, 0]
    external.put("mask_head/classes", name, kernel=weights.T, bias=tensors.take(f"{name}.bias")[1:])
