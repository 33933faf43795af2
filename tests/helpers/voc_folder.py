"""A small data set in Pascal VOC's layout, written file by file."""

import pathlib

import numpy as np
import PIL.Image

from tpuseg.visualization.drawing import color_map


def make_voc(
    root: pathlib.Path, masks: dict[str, tuple[np.ndarray, str]], image_format: str = "jpg", size: tuple[int, int] | None = None
) -> None:
    """Writes masks ([H, W] ids; name -> (array, kind)) with grey images of their size."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, (ids, kind) in masks.items():
        height, width = size or ids.shape
        PIL.Image.new("RGB", (width, height), (90, 120, 150)).save(root / "JPEGImages" / f"{name}.{image_format}")
        if kind == "rgb":
            colors = color_map()
            colors[255] = (224, 224, 192)
            image = PIL.Image.fromarray(colors[ids])
        else:
            image = PIL.Image.fromarray(ids)
            if kind == "palette":
                image.putpalette(color_map().tobytes())
        image.save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{name}\n" for name in masks))
