"""Runs the train step of torchvision's model for `train_step.py`; needs a Python with torchvision and no other packages.

Usage: python torch_step.py BATCH.npz

Writes a line of JSON after the first step, and then one for every line that it reads.
"""

import json
import sys
import time

import numpy as np
import torch
from torchvision.models.detection import mask_rcnn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone


def now():
    """Returns [2] seconds: wall-clock time and CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def build(size, num_classes):
    """Returns `maskrcnn_resnet50_fpn` with frozen norms and two frozen stages, as for training from ImageNet's weights."""
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    return mask_rcnn.MaskRCNN(backbone, num_classes + 1, min_size=size, max_size=size).train()


def main(path):
    """Measures steps on one batch: `images` [B, S, S, 3], and for each image `boxes`, `classes` and `masks`."""
    batch = np.load(path)
    images = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in batch["images"]]
    targets = [
        {
            "boxes": torch.from_numpy(batch[f"boxes{number}"][:, [1, 0, 3, 2]]),
            "labels": torch.from_numpy(batch[f"classes{number}"].astype(np.int64) + 1),
            "masks": torch.from_numpy(batch[f"masks{number}"]),
        }
        for number in range(len(images))
    ]
    started = now()
    model = build(images[0].shape[1], int(batch["num_classes"]))
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=float(batch["learning_rate"]), momentum=0.9, weight_decay=1e-4)

    def step():
        before = now()
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss = loss.item()
        if not np.isfinite(loss):
            raise ArithmeticError(f"the loss is {loss}")
        return (now() - before).tolist()

    step()
    count = sum(value.numel() for value in trained)
    print(json.dumps({"parameters": count, "first": (now() - started).tolist()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"step": step()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
