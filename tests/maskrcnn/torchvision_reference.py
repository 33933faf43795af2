"""Writes what torchvision's Mask R-CNN computes with random weights, and these; a script, run by the interpreter that has it.

Usage: python torchvision_reference.py OUTPUT.npz maskrcnn_resnet50_fpn
"""

import sys

import numpy as np
import torch
import torchvision
from torchvision.models.detection.image_list import ImageList

CANVAS = (256, 320)
SIZES = ((256, 300), (200, 320))
NUM_CLASSES = 5  # Without the background.


def random_model(name):
    """Returns the model in evaluation mode; its norms have statistics, and its last layers outputs of some spread."""
    model = getattr(torchvision.models.detection, name)(
        weights=None, weights_backbone=None, num_classes=NUM_CLASSES + 1
    ).eval()
    generator = torch.Generator().manual_seed(1)

    def fill(tensor, low, high):
        tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for name, module in model.named_modules():
        if hasattr(module, "running_var"):
            is_last = name.endswith("bn3")
            fill(module.weight, 0.2 if is_last else 0.8, 0.4 if is_last else 1.2)
            fill(module.bias, -0.2, 0.2)
            fill(module.running_mean, -0.2, 0.2)
            fill(module.running_var, 0.6, 1.5)
        elif isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)):
            deviation = 1.4 / module.weight[0].numel() ** 0.5
            module.weight.data.copy_(torch.randn(module.weight.shape, generator=generator) * deviation)
            if module.bias is not None:
                fill(module.bias, -0.1, 0.1)
    # Scores must not saturate: equal ones have no order to compare.
    model.rpn.head.cls_logits.weight.data.mul_(0.1)
    model.rpn.head.bbox_pred.weight.data.mul_(0.2)
    model.roi_heads.box_predictor.cls_score.weight.data.mul_(0.1)
    return model


def canvas(images):
    """Returns the normalised images, padded with zeros: [2, 3, H, W]."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    padded = torch.zeros(len(images), 3, *CANVAS)
    for row, (height, width) in enumerate(SIZES):
        pixels = torch.tensor(images[row, :height, :width]).permute(2, 0, 1).float() / 255
        padded[row, :, :height, :width] = (pixels - mean) / deviation
    return padded


def random_images():
    """Returns [2, H, W, 3] uint8: smooth colours, so that neighbouring cells differ but not wildly."""
    rng = np.random.default_rng(2)
    coarse = torch.tensor(rng.uniform(0, 255, (2, 3, 9, 11)))
    smooth = torch.nn.functional.interpolate(coarse, CANVAS, mode="bilinear", align_corners=True)
    noisy = smooth.permute(0, 2, 3, 1).numpy() + rng.normal(0, 10, (2, *CANVAS, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@torch.no_grad()
def main(path, name):
    model = random_model(name)
    torch.save(model.state_dict(), path.replace(".npz", ".pth"))
    result = {}
    result["images"] = images = random_images()
    batch = ImageList(canvas(images), [tuple(size) for size in SIZES])
    features = model.backbone(batch.tensors)
    for level, name in zip(range(2, 7), ("0", "1", "2", "3", "pool"), strict=True):
        result[f"p{level}"] = features[name].permute(0, 2, 3, 1).numpy()
        objectness, deltas = model.rpn.head([features[name]])
        result[f"objectness{level}"] = objectness[0].permute(0, 2, 3, 1).flatten(1).numpy()
        result[f"deltas{level}"] = deltas[0].permute(0, 2, 3, 1).reshape(2, -1, 4).numpy()
    proposals, _ = model.rpn(batch, features)
    detections, _ = model.roi_heads(features, proposals, batch.image_sizes)
    for row in range(2):
        result[f"proposals{row}"] = proposals[row].numpy()
        for name in ("boxes", "labels", "scores", "masks"):
            result[f"{name}{row}"] = detections[row][name].numpy()
    rois = [torch.tensor([[3.3, 4.4, 60.1, 90.9], [-20.0, -9.0, 40.0, 30.0], [250.0, 100.0, 330.0, 270.0]])] * 2
    result["rois"] = rois[0].numpy()
    for aligned in (False, True):
        pooled = torchvision.ops.roi_align(features["0"], rois, 7, 0.25, 2, aligned)
        result[f"pooled_{'aligned' if aligned else 'unaligned'}"] = pooled.permute(0, 2, 3, 1).numpy()
    np.savez(path, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
