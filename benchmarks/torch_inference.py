"""Runs torchvision's models for `inference.py`; needs a Python with torchvision and no other packages.

Usage: python torch_inference.py MODEL IMAGE.npy [WEIGHTS.npz]

Writes a line of JSON when it is ready, and one for every line that it reads. The random weights of Mask R-CNN are written to a file
first, because tpuseg's model uses them too.
"""

import json
import os
import sys
import time

import numpy as np
import torch
import torchvision

# The random weights of Mask R-CNN are those of a test.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "maskrcnn"))


def now():
    """Returns [2] seconds: wall-clock time and CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def maskrcnn(image, weights_path):
    """Returns a function that predicts one image, including masks at the image's size."""
    import torchvision_reference

    torchvision_reference.NUM_CLASSES = 80
    model = torchvision_reference.random_model("maskrcnn_resnet50_fpn")
    torch.save(model.state_dict(), weights_path)
    size = image.shape[:2]
    model.transform.min_size, model.transform.max_size = (min(size),), max(size)

    def run():
        (found,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
        # The probabilities, which have the image's size, are converted to masks.
        return (found["masks"] >= 0.5).sum(), len(found["boxes"])

    return run


def deeplab(image, weights_path):
    """Returns a function that predicts the classes of one image."""
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
    """Measures predictions of one image, [H, W, 3] uint8."""
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
