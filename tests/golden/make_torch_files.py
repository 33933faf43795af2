"""Makes the golden files of torchvision and of its file formats; run by an interpreter that has torchvision and safetensors.

python tests/golden/make_torch_files.py

The weights are `tests/helpers/seeded.py`'s, so only their names and shapes are stored, and a part of what the networks compute.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import torch
import torchvision
from torchvision.models.detection.image_list import ImageList

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "helpers"))
import seeded  # noqa: E402

SIDE = 64
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def fill(model):
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    values = {name: torch.tensor(value) for name, value in seeded.state_dict(shapes).items()}
    model.load_state_dict(values, strict=False)
    return np.array(json.dumps(shapes))


def channels_last(features, step=1, filters=8):
    return features.permute(0, 2, 3, 1)[:, ::step, ::step, :filters].numpy()


def pixels(side):
    image = torch.tensor(seeded.image(side, side)).float()
    return image.permute(0, 3, 1, 2), ((image / 255 - MEAN) / DEVIATION).permute(0, 3, 1, 2)


def mask_rcnn(name):
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=6).eval()
    result = {"shapes": fill(model)}
    raw, batch = pixels(SIDE)
    images = ImageList(batch, [(SIDE, SIDE)])
    features = model.backbone(batch)
    for level, key in zip(range(2, 7), ("0", "1", "2", "3", "pool"), strict=True):
        result[f"p{level}"] = channels_last(features[key], step=max(1, 8 >> (level - 2)))
    proposals, _ = model.rpn(images, features)
    found, _ = model.roi_heads(features, proposals, images.image_sizes)
    for key in ("boxes", "labels", "scores"):
        result[key] = found[0][key].numpy()
    result["masks"] = found[0]["masks"][:4, 0].numpy()
    if name == "maskrcnn_resnet50_fpn":
        result |= {f"caffe_{key}": value for key, value in caffe_features(model, raw).items()}
    np.savez_compressed(HERE / f"{name}.npz", **result)


def caffe_features(model, raw):
    """The pyramid as detectron2's zoo has it: BGR without a deviation, the stride on the 1x1."""
    for module in model.modules():
        if isinstance(module, torchvision.models.resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    mean = torch.tensor([103.53, 116.28, 123.675])[None, :, None, None]
    features = model.backbone(raw.flip(1) - mean)
    return {f"p{level}": channels_last(features[str(level - 2)], step=8 >> (level - 2)) for level in range(2, 6)}


def segmentation():
    model = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=3).eval()
    result = {"shapes": fill(model)}
    features = model.backbone(pixels(65)[1])
    result["features"] = channels_last(features["out"])
    np.savez_compressed(HERE / "deeplabv3_resnet50.npz", **result)


def formats():
    """The same few tensors in all forms: views, several types of number, and what must be refused."""
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {
        "plain": base,
        "transposed": base.permute(2, 0, 1),
        "part": base[1, 1:],
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "counter": torch.tensor(7),
        "parameter": torch.nn.Parameter(base * 2),
    }
    torch.save(tensors, HERE / "tensors.pth")
    torch.save(tensors, HERE / "tensors_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": tensors, "args": argparse.Namespace(lr=1)}, HERE / "with_arguments.pth")
    import safetensors.torch

    stored = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    safetensors.torch.save_file(stored, str(HERE / "tensors.safetensors"))


if __name__ == "__main__":
    with torch.no_grad():
        mask_rcnn("maskrcnn_resnet50_fpn")
        mask_rcnn("maskrcnn_resnet50_fpn_v2")
        segmentation()
        formats()
