"""Weights and images that are functions of their names: whoever makes a golden file and whoever reads it have the same ones.

Only numpy, and of it only uniform numbers, whose stream does not change from version to version.
"""

import zlib

import numpy as np


def uniform(name, shape, low=0.0, high=1.0):
    values = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).random(tuple(shape))
    return (low + (high - low) * values).astype(np.float32)


def tensor(name, shape):
    """A tensor of PyTorch's name and shape, such that features neither grow nor vanish."""
    if name.endswith("running_var"):
        return uniform(name, shape, 0.6, 1.5)
    if name.endswith("running_mean"):
        return uniform(name, shape, -0.2, 0.2)
    if name.endswith("bias"):
        return uniform(name, shape, -0.1, 0.1)
    if len(shape) == 1:
        return uniform(name, shape, 0.2, 0.4) if ".bn3." in name else uniform(name, shape, 0.8, 1.2)
    # Scores must not saturate: equal ones have no order to compare.
    small = 0.1 if "cls_logits" in name or "cls_score" in name else 0.2 if "rpn.head.bbox_pred" in name else 1.0
    bound = small * 1.4 * (3 / np.prod(shape[1:])) ** 0.5
    return uniform(name, shape, -bound, bound)


def state_dict(shapes):
    """Tensors by name, from shapes by name; counters are left out."""
    return {name: tensor(name, shape) for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def image(height, width):
    """[1, height, width, 3] uint8: smooth colours, so that neighbouring cells differ but not wildly."""
    coarse = uniform("picture", (9, 9, 3), 0, 255)  # The name is the seed with which the golden files were made.
    y, x = (np.linspace(0, 8, side) for side in (height, width))
    rows, columns = np.minimum(y.astype(int), 7), np.minimum(x.astype(int), 7)
    fy, fx = (y - rows)[:, None, None], (x - columns)[None, :, None]
    top = coarse[rows][:, columns] * (1 - fx) + coarse[rows][:, columns + 1] * fx
    bottom = coarse[rows + 1][:, columns] * (1 - fx) + coarse[rows + 1][:, columns + 1] * fx
    return np.round(top * (1 - fy) + bottom * fy).astype(np.uint8)[None]
