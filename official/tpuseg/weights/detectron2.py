"""detectron2's Mask R-CNN with ResNet-50 or -101 and a pyramid: the model zoo's .pkl, and .pth files of its trainer.

Its zoo's ResNets are Caffe's: BGR pixels without a deviation, the stride on the 1x1. Box classes have the background last, as here.
"""

from tpuseg.weights import coco_classes, pytorch, safe_pickle
from tpuseg.weights.external import ExternalWeights, Tensors

ENDINGS = (".pkl",)
_BODY = "backbone.bottom_up"
_STAGES = [f"{_BODY}.res{stage}" for stage in (2, 3, 4, 5)]
_BLOCK = {
    "reduce": ("conv1", "conv1.norm"),
    "spatial": ("conv2", "conv2.norm"),
    "expand": ("conv3", "conv3.norm"),
    "shortcut": ("shortcut", "shortcut.norm"),
}
_EPSILON = 1e-5
# Which weights say the scaling that they were trained with: that of the zoo's Caffe models, or of those from torchvision.
_ONE_DEVIATION = (1.0, 1.0, 1.0)


def read(path: str) -> ExternalWeights:
    """Reads a pickle.

    Raises:
      ValueError: the file is damaged, contains other objects than arrays, or an unsupported network.
    """
    tree = safe_pickle.load(path)
    if isinstance(tree, dict) and "model" not in tree and ("blobs" in tree or "conv1_w" in tree):
        raise ValueError(
            f"{path} uses the tensor names of Caffe2 (detectron, MSRA's R-50.pkl); use a Mask R-CNN of detectron2's model zoo"
        )
    return translate(pytorch.state_dict(path, tree))


def is_one(tensors: Tensors) -> bool:
    """Returns whether the names are detectron2's."""
    return bool(tensors.names(f"{_BODY}.")) or bool(tensors.names("proposal_generator."))


def translate(tensors: Tensors) -> ExternalWeights:
    """Brings detectron2's names and layouts to ours.

    Raises:
      ValueError: the network is not supported.
    """
    _refuse_others(tensors)
    external = ExternalWeights(tensors.path, "detectron2's Mask R-CNN with ResNet")
    external.aspect_ratios = (0.5, 1.0, 2.0)
    external.required = {
        "pixel_scaling": "detectron2",
        "backbone.type": "resnet",
        "backbone.resnet.stem": "plain",
        "backbone.resnet.stride_on": "1x1",
        "backbone.resnet.stride_at": "first",
    }
    external.advised = {
        "backbone.resnet.padding": "symmetric",
        "rpn.anchors.sizes": [32.0, 64.0, 128.0, 256.0, 512.0],
        "rpn.anchors.offset": 0.0,
        "rpn.anchors.rounded": False,
        "roi_align.aligned": True,
    }
    stem = (f"{_BODY}.stem.conv1", f"{_BODY}.stem.conv1.norm")
    pytorch.put_resnet(external, tensors, stem, _STAGES, _BLOCK, _EPSILON)
    for number, level in enumerate((2, 3, 4, 5)):
        pytorch.put_conv(external, tensors, f"fpn/lateral/{number}", f"backbone.fpn_lateral{level}")
        pytorch.put_conv(external, tensors, f"fpn/output_convs/{number}", f"backbone.fpn_output{level}")
    _put_heads(external, tensors)
    external.class_names = coco_classes.names_of(external.values["mask_head/classes/bias"].shape[0])
    external.what = f"{external.what}-{external.required['backbone.resnet.depth']}"
    # Both are constants of the configuration, which older files have among the weights.
    buffers = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.")
    external.unused = [name for name in tensors.unused() if not name.startswith(buffers)]
    return external


def _refuse_others(tensors: Tensors) -> None:
    """Raises ValueError for detectron2's other models, by name."""
    refused = ""
    if not tensors.names("backbone.fpn_lateral2."):
        refused = "a model without a feature pyramid (C4 or DC5)"
    elif not tensors.names("roi_heads.mask_head."):
        refused = "a model without a mask head (RetinaNet, Faster R-CNN, keypoints)"
    elif tensors.names("roi_heads.box_head.0.") or tensors.names("roi_heads.box_predictor.0."):
        refused = "a Cascade R-CNN"
    elif "pixel_std" in tensors and tuple(tensors.take("pixel_std").reshape(-1).tolist()) != _ONE_DEVIATION:
        refused = "a model whose pixels were divided by a deviation (R-50 and R-101 of the zoo were not)"
    elif tensors.names("backbone.fpn_lateral2.norm.") or tensors.names("roi_heads.mask_head.mask_fcn1.norm."):
        refused = "a model with norms in the pyramid or the heads"
    if refused:
        raise ValueError(f"{tensors.path} holds {refused}; supported are Mask R-CNN R50-FPN and R101-FPN")


def _put_heads(external: ExternalWeights, tensors: Tensors) -> None:
    rpn, box, mask = "proposal_generator.rpn_head", "roi_heads.box_predictor", "roi_heads.mask_head"
    pytorch.put_conv(external, tensors, "rpn/conv", f"{rpn}.conv")
    pytorch.put_conv(external, tensors, "rpn/objectness", f"{rpn}.objectness_logits")
    weights = pytorch.kernel(tensors.take(f"{rpn}.anchor_deltas.weight"))
    bias = tensors.take(f"{rpn}.anchor_deltas.bias")
    pytorch.put_box_codes(external, "rpn/deltas", f"{rpn}.anchor_deltas", weights, bias)
    pytorch.put_dense_of_rois(external, tensors, "box_head/dense/0", "roi_heads.box_head.fc1")
    pytorch.put_dense(external, tensors, "box_head/dense/1", "roi_heads.box_head.fc2")
    pytorch.put_dense(external, tensors, "box_head/classes", f"{box}.cls_score")
    weights, bias = tensors.take(f"{box}.bbox_pred.weight").T, tensors.take(f"{box}.bbox_pred.bias")
    pytorch.put_box_codes(external, "box_head/deltas", f"{box}.bbox_pred", weights, bias)
    for number in range(4):
        pytorch.put_conv(external, tensors, f"mask_head/convs/{number}", f"{mask}.mask_fcn{number + 1}")
    kernel = tensors.take(f"{mask}.deconv.weight").transpose(2, 3, 0, 1)  # Deconvolutions are [in, out, height, width].
    external.put("mask_head/upsampling", f"{mask}.deconv", kernel=kernel, bias=tensors.take(f"{mask}.deconv.bias"))
    weights, bias = tensors.take(f"{mask}.predictor.weight")[:, :, 0, 0], tensors.take(f"{mask}.predictor.bias")
    external.put("mask_head/classes", f"{mask}.predictor", kernel=weights.T, bias=bias)
