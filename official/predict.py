"""Predicts images, or the frames of a video, with a trained model.

Writes an overlay for each image; for DeepLab also the class ids as PNG, for Mask R-CNN results.json in COCO's results format
(results_bbox.json and results_segm.json are the files for pycocotools); and index.html, a page that shows all images in a browser.

python official/predict.py --model_dir=runs/deeplab_shapes --input='pictures/*.jpg' --output_dir=predictions
python official/predict.py --saved_model=exported/mine --input=frames --output_dir=predictions --score_threshold=0.7

Images with thousands of pixels a side are predicted as overlapping windows, see docs/large_images.md:

python official/predict.py --model_dir=runs/mine --input=survey.tif --output_dir=predictions --tile=1024
"""

import itertools
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags

from tpuseg import cli
from tpuseg.utils.messages import format_count

if TYPE_CHECKING:
    import numpy as np

    from tpuseg.inference.predictors import ImagePredictor
    from tpuseg.ops import windows
    from tpuseg.visualization.page import Entry, Finding

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory of a training run.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Checkpoint or folder; the run's best one by default.")
_SAVED_MODEL = flags.DEFINE_string("saved_model", None, "SavedModel written by official/export.py, instead of a run.")
_INPUT = flags.DEFINE_string("input", None, "An image, a folder of images or video frames, or a pattern in quotes.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the predictions.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Number of images or windows in a batch.", lower_bound=1)
_SCORE_THRESHOLD = flags.DEFINE_string(
    "score_threshold",
    None,
    "Objects with a lower score are neither drawn nor written; `best` for the one with the largest F1 in the run's last evaluation,"
    " by default the run's value.",
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", "", "COCO file with the image ids for results.json, by file name; otherwise names of digits are ids."
)
_TILE = flags.DEFINE_integer(
    "tile",
    None,
    "Side in pixels of the overlapping windows as which images are predicted; 0 predicts whole images. By default as in the"
    " run's evaluation (task.evaluation.tile), like the two flags below.",
    lower_bound=0,
)
_OVERLAP = flags.DEFINE_float("overlap", None, "Part of a window's side that neighbouring windows share, below 1.")
_TILE_SCALE = flags.DEFINE_float("tile_scale", None, "Factor by which windows are resized for the network.")
_BANDS = flags.DEFINE_list("bands", [], "Bands of TIFFs to use with --tile, from 1, as in --bands=4,3,2; the first by default.")


def _parse_score_threshold() -> float | str | None:
    """Returns the flag as a number if it is one."""
    try:
        return _SCORE_THRESHOLD.value and float(_SCORE_THRESHOLD.value)
    except ValueError:
        return _SCORE_THRESHOLD.value  # `best`, or an error in `predictors`.


def _load() -> "ImagePredictor":
    """Loads the model given by the flags."""
    from tpuseg.inference import predictors

    if _SAVED_MODEL.value:
        if _MODEL_DIR.value or _CHECKPOINT.value:
            raise ValueError("--saved_model cannot be combined with --model_dir and --checkpoint; remove them")
        return predictors.ExportedPredictor(_SAVED_MODEL.value, _parse_score_threshold())
    model_dir = _MODEL_DIR.value or predictors.model_dir_of(_CHECKPOINT.value)
    return predictors.Predictor(model_dir, _CHECKPOINT.value, _parse_score_threshold())


def _tiling(model: "ImagePredictor") -> "windows.Tiling | None":
    """Returns how images are divided, from the flags and the run; None if they are predicted as a whole."""
    tiling = model.tiling(_TILE.value, _OVERLAP.value, _TILE_SCALE.value)
    given = [flag.name for flag in (_OVERLAP, _TILE_SCALE, _BANDS) if flag.value]
    if tiling is None and given:
        raise ValueError(f"--{given[0]} is only used for windows; add their size, for example --tile=1024")
    return tiling


def _bands() -> list[int]:
    if not all(text.strip().isdecimal() for text in _BANDS.value):
        raise ValueError(f"--bands={','.join(_BANDS.value)} is not a list of numbers, as in --bands=4,3,2")
    return [int(text) for text in _BANDS.value]


def _batches(paths: list[str], size: int) -> Iterator[tuple[str, ...]]:
    iterator = iter(paths)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


class _Predicted(NamedTuple):
    """A predicted image; `prediction` is None if only its files were kept."""

    path: str
    prediction: Any
    entry: "Entry"


class _Skipped:
    """The images that cannot be predicted; each is printed with the reason.

    Attributes:
      paths: their paths.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []

    def add(self, path: str, reason: str) -> None:
        """Adds an image."""
        from tpuseg.io import image_files

        self.paths.append(image_files.printable(path))
        # Most reasons begin with the file's name.
        shown = reason.removeprefix(self.paths[-1]).lstrip(": ")
        print(f"skipped {self.paths[-1]}: {shown}", file=sys.stderr, flush=True)

    def add_error(self, path: str, error: Exception) -> None:
        """Adds an image that raised an error."""
        self.add(path, getattr(error, "strerror", None) or str(error))  # `str` of an OSError repeats the path.

    def add_too_large(self, path: str, size: tuple[int, int]) -> None:
        """Adds an image that does not fit into memory."""
        way_out = "choose a smaller --tile or --batch_size" if _TILE.value else "predict it as windows, with --tile=1024"
        self.add(path, f"its {size[1]}x{size[0]} pixels need more memory than there is; {way_out}")


def _read(model: "ImagePredictor", paths: tuple[str, ...], skipped: _Skipped) -> "dict[str, np.ndarray]":
    """Returns the images that can be read."""
    images = {}
    for path in paths:
        try:
            images[path] = model.read(path)
        except (OSError, ValueError) as error:
            skipped.add_error(path, error)
    return images


def _predict(model: "ImagePredictor", images: "dict[str, np.ndarray]", skipped: _Skipped) -> Iterator[tuple[str, Any]]:
    """Yields the images' paths and predictions; one that does not fit into memory, not even alone, is skipped."""
    import tensorflow as tf

    try:
        yield from zip(images, model.predict(list(images.values()), tile=0) if images else [], strict=True)
        return
    except (MemoryError, tf.errors.ResourceExhaustedError):
        pass
    for path, image in images.items():
        try:
            (prediction,) = model.predict([image], tile=0)
        except (MemoryError, tf.errors.ResourceExhaustedError):
            skipped.add_too_large(path, image.shape[:2])
            continue
        yield path, prediction


def _predict_images(model: "ImagePredictor", names: dict[str, str], skipped: _Skipped) -> Iterator[_Predicted]:
    """Predicts whole images in batches, and writes their files.

    Args:
      model: the model.
      names: names of the files to write, by the path of the image.
      skipped: collects the images that cannot be predicted.
    """
    import tqdm

    with tqdm.tqdm(total=len(names), unit="image", disable=None) as bar:
        for batch in _batches(list(names), _BATCH_SIZE.value):
            images = _read(model, batch, skipped)
            for path, prediction in _predict(model, images, skipped):
                overlay = model.task.predictions.write(prediction, images[path], os.path.join(_OUTPUT_DIR.value, names[path]))
                findings = model.task.predictions.findings(prediction)
                yield _Predicted(path, prediction, _entry(path, names[path], images[path].shape[:2], overlay, findings))
            bar.update(len(batch))


def _predict_tiles(
    model: "ImagePredictor", names: dict[str, str], skipped: _Skipped, tiling: "windows.Tiling", bands: list[int]
) -> Iterator[_Predicted]:
    """Does the same as `_predict_images` for images as overlapping windows, of the given bands."""
    import tensorflow as tf
    import tqdm

    from tpuseg.inference import tiled_files
    from tpuseg.ops import windows

    for path, name in names.items():
        try:
            with model.open(path, bands) as source:
                grid = windows.Grid(source.size, tiling)
                stem = os.path.join(_OUTPUT_DIR.value, name)
                with tqdm.tqdm(total=len(grid), unit="tile", desc=name, disable=None) as bar:
                    written = tiled_files.predict_and_write(model, source, stem, tiling, _BATCH_SIZE.value, bar.update)
        except (OSError, ValueError) as error:
            skipped.add_error(path, error)
            continue
        except (MemoryError, tf.errors.ResourceExhaustedError):
            skipped.add_too_large(path, source.size)
            continue
        yield _Predicted(path, written.prediction, _entry(path, name, source.size, written.overlay, written.findings))


def _entry(path: str, name: str, size: tuple[int, int], overlay: "np.ndarray", findings: "list[Finding]") -> "Entry":
    """Writes the thumbnail of an image, and returns its entry on the page."""
    from tpuseg.io import image_files
    from tpuseg.visualization import page

    shown = f"{name}_overlay.png"
    page.write_thumbnail(_OUTPUT_DIR.value, shown, overlay)
    return page.Entry(image_files.printable(os.path.basename(path)), size, shown, findings)


def _results(model: "ImagePredictor", found: _Predicted, image_id: int | str) -> list[dict[str, Any]]:
    """Returns the rows of an image for results.json; none, with a message, if it is too large for COCO's format."""
    try:
        return model.task.predictions.results(found.prediction, image_id)
    except ValueError as error:
        print(f"{found.path} is left out of results.json: {error}", file=sys.stderr, flush=True)
        return []


def main(argv: list[str]) -> int:
    """Predicts all images; returns 1 if any could not be read."""
    cli.refuse_arguments(argv)
    named = _MODEL_DIR.value or _CHECKPOINT.value or _SAVED_MODEL.value
    cli.require(model_dir=named, input=_INPUT.value, output_dir=_OUTPUT_DIR.value)
    bands = _bands()

    from tpuseg.evaluation import coco, image_ids
    from tpuseg.io import files, image_paths
    from tpuseg.visualization import page

    paths = image_paths.find(_INPUT.value)
    names = dict(zip(paths, image_paths.names(paths), strict=True))
    ids = image_ids.of_images(paths, names, _ANNOTATIONS.value)
    model = _load()
    tiling = _tiling(model)
    files.remove_left_over(_OUTPUT_DIR.value)
    print(f"predicting {format_count(len(paths), 'image')} with {model.source}", flush=True)
    left_out = image_paths.left_out(_INPUT.value)
    if left_out:
        print(left_out, flush=True)
    skipped = _Skipped()
    predicted = _predict_images(model, names, skipped)
    if tiling is not None:
        predicted = _predict_tiles(model, names, skipped, tiling, bands)
    results: list[dict[str, Any]] = []
    entries = []
    for found in predicted:
        entries.append(found.entry)
        if found.path in ids and found.prediction is not None:
            results += _results(model, found, ids[found.path])
    if results:
        coco.write_results(os.path.join(_OUTPUT_DIR.value, "results.json"), results)
    notes = [
        f"{format_count(len(entries), 'image')}, predicted with {model.source}",
        *(f"could not be read: {path}" for path in skipped.paths),
    ]
    shown = page.write(_OUTPUT_DIR.value, entries, "Predictions", notes)
    count = f"; {len(skipped.paths)} skipped" if skipped.paths else ""
    if entries:
        print(f"{format_count(len(entries), 'prediction')} in {_OUTPUT_DIR.value}; look at {shown}{count}")
    else:
        print(f"nothing was predicted: 0 of {format_count(len(paths), 'image')} could be read; {shown} lists them")
    return 1 if skipped.paths else 0


if __name__ == "__main__":
    cli.run(main)
