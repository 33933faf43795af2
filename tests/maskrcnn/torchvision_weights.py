"""Copies the weights of torchvision's `maskrcnn_resnet50_fpn` into our model, for the comparison of the two."""

import numpy as np

# (dx, dy, dw, dh) to (dy, dx, dh, dw).
_CODE = [1, 0, 3, 2]


def assign(model, weights):
    """Sets every variable of `model` from a dictionary of torchvision's names to arrays."""
    done = set()

    def put(variable, value):
        assert tuple(variable.shape) == value.shape, (variable.name, variable.shape, value.shape)
        variable.assign(value)
        done.add(variable.ref())

    def conv(layer, name):
        put(layer.kernel, weights[f"{name}.weight"].transpose(2, 3, 1, 0))
        if layer.use_bias:
            put(layer.bias, weights[f"{name}.bias"])

    def block(layer, conv_name, norm_name):
        conv(layer.conv, conv_name)
        put(layer.norm.gamma, weights[f"{norm_name}.weight"])
        put(layer.norm.beta, weights[f"{norm_name}.bias"])
        put(layer.norm.moving_mean, weights[f"{norm_name}.running_mean"])
        put(layer.norm.moving_variance, weights[f"{norm_name}.running_var"])

    body = "backbone.body"
    block(model.backbone.stem[0], f"{body}.conv1", f"{body}.bn1")
    for stage, blocks in enumerate(model.backbone.stages, start=1):
        for number, bottleneck in enumerate(blocks):
            name = f"{body}.layer{stage}.{number}"
            for part, layer in enumerate((bottleneck.reduce, bottleneck.spatial, bottleneck.expand), start=1):
                block(layer, f"{name}.conv{part}", f"{name}.bn{part}")
            if bottleneck.shortcut is not None:
                block(bottleneck.shortcut, f"{name}.downsample.0", f"{name}.downsample.1")
    for number in range(4):
        conv(model.fpn.lateral[number], f"backbone.fpn.inner_blocks.{number}.0")
        conv(model.fpn.output_convs[number], f"backbone.fpn.layer_blocks.{number}.0")

    conv(model.rpn.conv, "rpn.head.conv.0.0")
    conv(model.rpn.objectness, "rpn.head.cls_logits")
    shapes = model.rpn.objectness.filters
    deltas = weights["rpn.head.bbox_pred.weight"].transpose(2, 3, 1, 0)
    put(model.rpn.deltas.kernel, deltas.reshape(1, 1, -1, shapes, 4)[..., _CODE].reshape(deltas.shape))
    put(model.rpn.deltas.bias, weights["rpn.head.bbox_pred.bias"].reshape(shapes, 4)[:, _CODE].reshape(-1))

    head = "roi_heads.box_head"
    first = weights[f"{head}.fc6.weight"].reshape(1024, 256, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 1024)
    put(model.box_head.dense[0].kernel, first)
    put(model.box_head.dense[0].bias, weights[f"{head}.fc6.bias"])
    put(model.box_head.dense[1].kernel, weights[f"{head}.fc7.weight"].T)
    put(model.box_head.dense[1].bias, weights[f"{head}.fc7.bias"])
    predictor = "roi_heads.box_predictor"
    # The background goes from the front to the end.
    put(model.box_head.classes.kernel, np.roll(weights[f"{predictor}.cls_score.weight"], -1, axis=0).T)
    put(model.box_head.classes.bias, np.roll(weights[f"{predictor}.cls_score.bias"], -1))
    deltas = weights[f"{predictor}.bbox_pred.weight"].reshape(-1, 4, 1024)[1:, _CODE]
    put(model.box_head.deltas.kernel, deltas.reshape(-1, 1024).T)
    put(model.box_head.deltas.bias, weights[f"{predictor}.bbox_pred.bias"].reshape(-1, 4)[1:, _CODE].reshape(-1))

    for number, layer in enumerate(model.mask_head.convs):
        conv(layer, f"roi_heads.mask_head.{number}.0")
    predictor = "roi_heads.mask_predictor"
    put(model.mask_head.upsampling.kernel, weights[f"{predictor}.conv5_mask.weight"].transpose(2, 3, 0, 1))
    put(model.mask_head.upsampling.bias, weights[f"{predictor}.conv5_mask.bias"])
    put(model.mask_head.classes.kernel, weights[f"{predictor}.mask_fcn_logits.weight"][1:, :, 0, 0].T)
    put(model.mask_head.classes.bias, weights[f"{predictor}.mask_fcn_logits.bias"][1:])

    missing = [variable.name for variable in model.variables if variable.ref() not in done]
    assert not missing, missing
