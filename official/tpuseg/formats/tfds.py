"""Writing data sets of tensorflow-datasets into a folder that the readers of this package can read.

Masks of classes are written to `images/SPLIT` and `masks/SPLIT`, with a `classes.txt` if the data set has class names; masks of
objects are written to COCO's `annotations/instances_SPLIT.json`.
"""

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from tpuseg.io import files
from tpuseg.ops import masks

_MASKS = ("segmentation_mask", "segmentation_label", "annotation", "mask", "label")
_OBJECT_MASKS = ("segmentation", "mask")
_ENDINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}


class _Features(NamedTuple):
    """The features of a data set that are used.

    Attributes:
      image: name of the image feature.
      mask: name of the mask with a class for every pixel; empty if there is none.
      objects: name of the list of objects; empty if they have no masks.
      object_mask: name of an object's mask in that list.
      names: names of the classes; empty if the data set has none.
    """

    image: str
    mask: str
    objects: str
    object_mask: str
    names: list[str]


def write_folder(name: str, folder: str) -> None:
    """Writes a data set of tensorflow-datasets into a folder; downloads and prepares it first if this was not done before.

    If a data set has masks of classes and of objects, those of the objects are written, from which the classes can be drawn. The
    encoded bytes of the images are not changed. The folder has a temporary name until it is complete.

    Args:
      name: name of the data set, optionally with configuration and version, as in `coco/2017:1.1.0`.
      folder: path of the new folder, on a local disk.

    Raises:
      ValueError: the data set does not exist or has no masks, or the folder exists already.
    """
    import tensorflow_datasets as tfds  # Seconds to import, and only needed here.

    if os.path.exists(folder):
        raise ValueError(f"{folder} exists already; remove it, or choose another folder")
    try:
        # The library reads the variable only when it is imported; this reads it at every call.
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"tensorflow-datasets has no data set `{name}`: {str(error).splitlines()[0]}") from error
    features = _find_features(name, builder.info.features, tfds)
    files.remove_left_over(os.path.dirname(folder) or ".", os.path.basename(folder))
    temporary = files.temporary_name(folder)
    os.makedirs(temporary)
    try:
        for split in builder.info.splits:
            undecoded = {key: tfds.decode.SkipDecoding() for key in (features.image, features.mask) if key}
            examples = builder.as_dataset(split=split, decoders=undecoded).as_numpy_iterator()
            write = _write_objects if features.objects else _write_masks
            write(examples, features, temporary, split)
        if features.mask and features.names:
            files.write_text(os.path.join(temporary, "classes.txt"), "\n".join(features.names) + "\n")
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _find_features(name: str, features: Mapping[str, Any], tfds: Any) -> _Features:
    """Returns the features to use; raises ValueError that lists all features if there is no image or no mask."""
    image_features = {key: feature for key, feature in features.items() if isinstance(feature, tfds.features.Image)}
    image = next((key for key in ("image", "image_left") if key in image_features), "")
    for key, feature in features.items():
        inner = getattr(feature, "feature", None)
        of_object = next((one for one in _OBJECT_MASKS if isinstance(_get(inner, one), tfds.features.Image)), "")
        if image and of_object:
            return _Features(image, "", key, of_object, list(getattr(_get(inner, "label"), "names", None) or ["object"]))
    mask = next((key for key in _MASKS if key in image_features and key != image), "")
    if not image or not mask:
        raise ValueError(
            f"{name} has the features {', '.join(features)}; segmentation needs `image`, and a mask ({', '.join(_MASKS)}),"
            f" or objects with masks ({', '.join(_OBJECT_MASKS)})"
        )
    return _Features(image, mask, "", "", list(getattr(image_features[mask], "names", None) or []))


def _get(features: Any, key: str) -> Any:
    try:
        return features[key]
    except (KeyError, TypeError):
        return None


def _write_image(content: bytes, folder: str, number: int) -> tuple[str, tuple[int, int]]:
    """Writes an encoded image; returns its name, and its height and width."""
    with PIL.Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        ending = next((ending for start, ending in _ENDINGS.items() if content.startswith(start)), f".{str(image.format).lower()}")
    name = f"{number:06d}{ending}"
    files.write_bytes(os.path.join(folder, name), content)
    return name, (height, width)


def _write_masks(examples: Iterator[dict[str, Any]], features: _Features, folder: str, split: str) -> None:
    for number, example in enumerate(examples):
        _write_image(example[features.image], os.path.join(folder, "images", split), number)
        content = example[features.mask]
        with PIL.Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image)
            if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():  # Grey that was stored as RGB.
                buffer = io.BytesIO()
                PIL.Image.fromarray(np.ascontiguousarray(pixels[..., 0])).save(buffer, "PNG")
                content = buffer.getvalue()
        files.write_bytes(os.path.join(folder, "masks", split, f"{number:06d}.png"), content)


def _write_objects(examples: Iterator[dict[str, Any]], features: _Features, folder: str, split: str) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, example in enumerate(examples):
        name, size = _write_image(example[features.image], os.path.join(folder, "images", split), number)
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        objects = example[features.objects]
        for place, mask in enumerate(objects[features.object_mask]):
            annotations.append(_annotation(len(annotations) + 1, number, objects, place, np.asarray(mask), size))
    categories = [{"id": number, "name": name} for number, name in enumerate(features.names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    files.write_json(os.path.join(folder, "annotations", f"instances_{split}.json"), content)


def _annotation(
    number: int, image: int, objects: Mapping[str, Any], place: int, mask: np.ndarray, size: tuple[int, int]
) -> dict[str, Any]:
    runs = masks.encode(mask.reshape(mask.shape[:2])[: size[0], : size[1]] > 0)
    y0, x0, y1, x1 = masks.bounding_box(runs).tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": int(objects["label"][place]) + 1 if "label" in objects else 1,
        "iscrowd": int(bool(objects["is_crowd"][place])) if "is_crowd" in objects else 0,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": masks.area(runs),
        "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode()},
    }
