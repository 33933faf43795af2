"""The side of torchvision in `inference.py`: a script for an interpreter that has it, and needs nothing else.

Usage: python torch_inference.py MODEL IMAGE.npy [WEIGHTS.npz]

Answers a line of JSON when it is ready, and one for every line that it reads. Mask R-CNN's random weights, which a second library
is to have too, are written as arrays first.
"""

import json
import os
import sys
import time

import numpy as np
import torch
import torchvision

# Mask R-CNN's random weights are those of the comparison in the tests.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "maskrcnn"))


def now():
    """Returns seconds of the clock and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def maskrcnn(image, weights_path):
    """Returns what predicts one image, masks at its own size included."""
    import torchvision_reference

    torchvision_reference.NUM_CLASSES = 80
    model = torchvision_reference.random_model("maskrcnn_resnet50_fpn")
    torch.save(model.state_dict(), weights_path)
    size = image.shape[:2]
    model.transform.min_size, model.transform.max_size = (min(size),), max(size)

    def run():
        (found,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
        # Their probabilities at the image's size become masks.
        return (found["masks"] >= 0.5).sum(), len(found["boxes"])

    return run


def deeplab(image, weights_path):
    """Returns what predicts one image's classes."""
    del weights_path
    model = torchvision.models.segmentation.deeplabv3_resnet101(weights=None, weights_backbone=None, num_classes=21).eval()
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

    def run():
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        return model(((pixels - mean) / deviation)[None])["out"].argmax(1).to(torch.uint8), 1

    return run


@torch.no_grad()
def main(model, image_path, weights_path=""):
    """Times predictions of one image, [H, W, 3] uint8."""
    run = {"maskrcnn": maskrcnn, "deeplab": deeplab}[model](np.load(image_path), weights_path)
    before = now()
    _, count = run()
    print(json.dumps({"first": (now() - before).tolist(), "found": count}), flush=True)
    for _ in sys.stdin:
        before = now()
        run()
        print(json.dumps({"run": (now() - before).tolist()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
