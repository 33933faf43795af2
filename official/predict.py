"""Predicts images, or the frames of a video, with a trained model.

Writes an overlay for each image; for DeepLab also the class ids as PNG, for Mask R-CNN results.json in COCO's results format
(results_bbox.json and results_segm.json are the files for pycocotools); and index.html, a page that shows all images in a browser.

python official/predict.py --model_dir=runs/deeplab_shapes --input='pictures/*.jpg' --output_dir=predictions
python official/predict.py --saved_model=exported/mine --input=frames --output_dir=predictions --score_threshold=0.7
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from tpuseg import cli
from tpuseg.utils.messages import format_count

if TYPE_CHECKING:
    import numpy as np

    from tpuseg.inference.predictors import ImagePredictor
    from tpuseg.visualization.page import Entry

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory of a training run.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Checkpoint or folder; the run's best one by default.")
_SAVED_MODEL = flags.DEFINE_string("saved_model", None, "SavedModel written by official/export.py, instead of a run.")
_INPUT = flags.DEFINE_string("input", None, "An image, a folder of images or video frames, or a pattern in quotes.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the predictions.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Number of images in a batch.", lower_bound=1)
_SCORE_THRESHOLD = flags.DEFINE_float(
    "score_threshold", None, "Objects with a lower score are neither drawn nor written; by default the run's value."
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", "", "COCO file with the image ids for results.json, by file name; otherwise names of digits are ids."
)


def _load() -> "ImagePredictor":
    """Loads the model given by the flags."""
    from tpuseg.inference import predictors

    if _SAVED_MODEL.value:
        if _MODEL_DIR.value or _CHECKPOINT.value:
            raise ValueError("--saved_model cannot be combined with --model_dir and --checkpoint; remove them")
        return predictors.ExportedPredictor(_SAVED_MODEL.value, _SCORE_THRESHOLD.value)
    model_dir = _MODEL_DIR.value or predictors.model_dir_of(_CHECKPOINT.value)
    return predictors.Predictor(model_dir, _CHECKPOINT.value, _SCORE_THRESHOLD.value)


def _batches(paths: list[str], size: int) -> Iterator[tuple[str, ...]]:
    iterator = iter(paths)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def _read(model: "ImagePredictor", paths: tuple[str, ...], skip: Callable[[str, str], None]) -> "dict[str, np.ndarray]":
    """Returns the images that can be read; `skip` gets the others, and why."""
    images = {}
    for path in paths:
        try:
            images[path] = model.read(path)
        except (OSError, ValueError) as error:
            skip(path, getattr(error, "strerror", None) or str(error))  # `str` of an OSError repeats the path.
    return images


def _predict(
    model: "ImagePredictor", images: "dict[str, np.ndarray]", skip: Callable[[str, str], None]
) -> Iterator[tuple[str, Any]]:
    """Yields the images' paths and predictions; one that does not fit into memory, not even alone, is skipped."""
    import tensorflow as tf

    try:
        yield from zip(images, model.predict(list(images.values())) if images else [], strict=True)
        return
    except (MemoryError, tf.errors.ResourceExhaustedError):
        pass
    for path, image in images.items():
        try:
            (prediction,) = model.predict([image])
        except (MemoryError, tf.errors.ResourceExhaustedError):
            skip(path, f"its {image.shape[1]}x{image.shape[0]} pixels need more memory than there is; cut it into tiles")
            continue
        yield path, prediction


def _write(model: "ImagePredictor", prediction: Any, image: "np.ndarray", path: str, name: str) -> "Entry":
    """Writes the files of one image; returns its entry on the page."""
    from tpuseg.io import image_files
    from tpuseg.visualization import page

    overlay = model.task.predictions.write(prediction, image, os.path.join(_OUTPUT_DIR.value, name))
    shown = f"{name}_overlay.png"
    page.write_thumbnail(_OUTPUT_DIR.value, shown, overlay)
    findings = model.task.predictions.findings(prediction)
    return page.Entry(image_files.printable(os.path.basename(path)), image.shape[:2], shown, findings)


def main(argv: list[str]) -> int:
    """Predicts all images; returns 1 if any could not be read."""
    cli.refuse_arguments(argv)
    named = _MODEL_DIR.value or _CHECKPOINT.value or _SAVED_MODEL.value
    cli.require(model_dir=named, input=_INPUT.value, output_dir=_OUTPUT_DIR.value)
    import tqdm

    from tpuseg.evaluation import coco, image_ids
    from tpuseg.io import files, image_files, image_paths
    from tpuseg.visualization import page

    paths = image_paths.find(_INPUT.value)
    names = dict(zip(paths, image_paths.names(paths), strict=True))
    ids = image_ids.of_images(paths, names, _ANNOTATIONS.value)
    model = _load()
    files.remove_left_over(_OUTPUT_DIR.value)
    print(f"predicting {format_count(len(paths), 'image')} with {model.source}", flush=True)
    left_out = image_paths.left_out(_INPUT.value)
    if left_out:
        print(left_out, flush=True)
    broken: list[str] = []

    def skip(path: str, reason: str) -> None:
        broken.append(image_files.printable(path))
        # Most reasons begin with the file's name.
        print(f"skipped {broken[-1]}: {reason.removeprefix(broken[-1]).lstrip(': ')}", file=sys.stderr, flush=True)

    results: list[dict[str, Any]] = []
    entries = []
    with tqdm.tqdm(total=len(paths), unit="image", disable=None) as bar:
        for batch in _batches(paths, _BATCH_SIZE.value):
            found = _read(model, batch, skip)
            for path, prediction in _predict(model, found, skip):
                entries.append(_write(model, prediction, found[path], path, names[path]))
                if path in ids:
                    results += model.task.predictions.results(prediction, ids[path])
            bar.update(len(batch))
    if results:
        coco.write_results(os.path.join(_OUTPUT_DIR.value, "results.json"), results)
    notes = [
        f"{format_count(len(entries), 'image')}, predicted with {model.source}",
        *(f"could not be read: {path}" for path in broken),
    ]
    shown = page.write(_OUTPUT_DIR.value, entries, "Predictions", notes)
    skipped = f"; {len(broken)} skipped" if broken else ""
    if entries:
        print(f"{format_count(len(entries), 'prediction')} in {_OUTPUT_DIR.value}; look at {shown}{skipped}")
    else:
        print(f"nothing was predicted: 0 of {format_count(len(paths), 'image')} could be read; {shown} lists them")
    return 1 if broken else 0


if __name__ == "__main__":
    cli.run(main)
