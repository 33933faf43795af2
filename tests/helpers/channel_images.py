"""Images of any number of channels as files that people have, and data sets of them in both layouts."""

import io
import json
import pathlib

import numpy as np
import odd_images
import PIL.Image
import tifffile

HEIGHT, WIDTH = 24, 32


def values(num_channels: int, bits: int = 8, seed: int = 0) -> np.ndarray:
    """Returns [HEIGHT, WIDTH, num_channels] whose channels differ; of 16 bits the values of 12 are used."""
    random = np.random.default_rng(seed)
    if bits == 8:
        return random.integers(0, 256, (HEIGHT, WIDTH, num_channels)).astype(np.uint8)
    return random.integers(0, 4096, (HEIGHT, WIDTH, num_channels)).astype(np.uint16)


def tiff(pixels: np.ndarray, form: str = "contig", **options) -> bytes:
    """Returns a TIFF whose bands are in one page, together (`contig`) or one by one (`separate`), or each in a page of its own."""
    buffer = io.BytesIO()
    if form == "contig":
        tifffile.imwrite(buffer, pixels, photometric="minisblack", planarconfig="contig", **options)
    else:
        separate = {"planarconfig": "separate"} if form == "separate" else {}
        bands = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        tifffile.imwrite(buffer, bands, photometric="minisblack", metadata=None, **separate, **options)
    return buffer.getvalue()


def encode(pixels: np.ndarray) -> tuple[bytes, str]:
    """Returns the file that people have of such channels, and its ending: PNG for 1, 3 and 4, TIFF for others."""
    count = pixels.shape[-1]
    if count not in (1, 3, 4):
        return tiff(pixels), ".tif"
    if pixels.dtype == np.uint8:
        return odd_images.encode(pixels[..., 0] if count == 1 else pixels), ".png"
    return (odd_images.encode(pixels[..., 0]) if count == 1 else odd_images.png_of_16_bits(pixels)), ".png"


def write_data_set(root: pathlib.Path, images: dict[str, np.ndarray], splits: dict[str, list[str]] | None = None) -> None:
    """Writes a VOC folder with two classes, whose object is a rectangle, and `SPLIT.json` with the same objects for COCO."""
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    endings = {}
    for name, pixels in images.items():
        data, endings[name] = encode(pixels)
        (root / f"JPEGImages/{name}{endings[name]}").write_bytes(data)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[4:20, 6:26] = 1
        PIL.Image.fromarray(mask).save(root / f"SegmentationClass/{name}.png")
        PIL.Image.fromarray(mask).save(root / f"SegmentationObject/{name}.png")
    for split, names in (splits or {"train": list(images)}).items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in names))
        listed = [
            {"id": number, "file_name": name + endings[name], "width": images[name].shape[1], "height": images[name].shape[0]}
            for number, name in enumerate(names, start=1)
        ]
        objects = [
            {
                **{"id": row["id"], "image_id": row["id"], "category_id": 1, "iscrowd": 0, "area": 320},
                **{"bbox": [6, 4, 20, 16], "segmentation": [[6, 4, 26, 4, 26, 20, 6, 20]]},
            }
            for row in listed
        ]
        content = {"images": listed, "annotations": objects, "categories": [{"id": 1, "name": "thing"}]}
        (root / f"{split}.json").write_text(json.dumps(content))
