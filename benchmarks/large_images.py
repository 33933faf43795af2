"""Mask R-CNN or DeepLab on large images by windows: scores beside windows that cut no object, and time and memory by size.

python benchmarks/large_scenes.py --output=/tmp/scenes
python benchmarks/large_images.py --model_dir=runs/scenes --data=/tmp/scenes --tile=1024 accuracy
python benchmarks/large_images.py --model_dir=runs/scenes --tile=1024 --sides=2048,8192,20480 cost

With `accuracy`, every image is predicted twice: by overlapping windows, and by windows of `--line` pixels without overlap,
which cut no object of `large_scenes.py`. For DeepLab, the second prediction is the undivided one of `--undivided_model_dir`, a
copy of the run whose evaluation canvas holds the image. With `cost`, official/predict.py predicts generated tiled TIFFs in
processes of their own.
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np
import PIL.Image
import tifffile
from absl import app, flags

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_ROOT, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory of a run.")
_UNDIVIDED = flags.DEFINE_string("undivided_model_dir", None, "DeepLab: copy of the run whose canvas holds a whole image.")
_DATA = flags.DEFINE_string("data", None, "Folder that large_scenes.py wrote, for `accuracy`.")
_TILE = flags.DEFINE_integer("tile", 1024, "Side of the windows.")
_OVERLAP = flags.DEFINE_float("overlap", 0.2, "Overlap of the windows.")
_LINE = flags.DEFINE_integer("line", 1024, "Side of the windows that cut no object.")
_SCORE = flags.DEFINE_float("score", 0.5, "Objects with at least this score are counted.")
_SIDES = flags.DEFINE_list("sides", ["2048", "8192", "20480"], "Sides of the images of `cost`.")
_WORK_DIR = flags.DEFINE_string("work_dir", "/tmp/large_images", "Folder for the files of `cost`.")

MAX_DETECTIONS = 2000


def _predict_clean_windows(model: Any, pixels: np.ndarray) -> Any:
    """Returns the objects in windows of `--line` pixels without overlap, in pixels of the image."""
    from tpuseg.maskrcnn.prediction import Objects

    parts = []
    for top in range(0, pixels.shape[0], _LINE.value):
        for left in range(0, pixels.shape[1], _LINE.value):
            (found,) = model.predict(pixels[top : top + _LINE.value, left : left + _LINE.value], tile=0)
            parts.append((found.boxes + np.tile([top, left], 2), found.scores, found.classes, found.masks))
    boxes, scores, classes, box_masks = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    return Objects(boxes[order], scores[order], classes[order], box_masks[order], pixels.shape[:2])


def read_truths(folder: str) -> tuple[list[Any], list[Any], list[str]]:
    """Returns categories, ground truth and paths of the images."""
    from tpuseg.data.examples import Category
    from tpuseg.evaluation.coco import ImageTruth
    from tpuseg.ops import masks

    with open(os.path.join(folder, "annotations.json")) as file:
        content = json.load(file)
    truths, paths = [], []
    for image in content["images"]:
        size = image["height"], image["width"]
        rows = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        rows = [{**row, "segmentation": masks.run_lengths(row["segmentation"], *size)} for row in rows]
        truths.append(ImageTruth(str(image["id"]), *size, rows))
        paths.append(os.path.join(folder, "images", image["file_name"]))
    return [Category(row["id"], row["name"]) for row in content["categories"]], truths, paths


def _compare_objects(model: Any) -> None:
    from tpuseg.evaluation.coco import CocoEvaluator

    categories, truths, paths = read_truths(_DATA.value)
    kinds = {name: CocoEvaluator(categories, truths, MAX_DETECTIONS) for name in ("windows", "clean")}
    counts = dict.fromkeys(kinds, 0)
    seconds = dict.fromkeys(kinds, 0.0)
    for index, path in enumerate(paths):
        pixels = tifffile.imread(path)
        for name, evaluator in kinds.items():
            started = time.monotonic()
            if name == "windows":
                (found,) = model.predict(pixels, tile=_TILE.value, overlap=_OVERLAP.value)
            else:
                found = _predict_clean_windows(model, pixels)
            seconds[name] += time.monotonic() - started
            evaluator.add_runs(index, found.boxes, found.scores, found.classes, found.runs())
            counts[name] += int((found.scores >= _SCORE.value).sum())
    objects = sum(truth.num_instances for truth in truths)
    print(f"{len(paths)} images, {objects} objects, tile {_TILE.value}, overlap {_OVERLAP.value:g}")
    for name, evaluator in kinds.items():
        metrics = evaluator.metrics()
        print(
            f"{name:8}  mask AP_all {metrics['segm']['AP_all']:.4f}  box AP_all {metrics['bbox']['AP_all']:.4f}"
            f"  AP50_all {metrics['segm']['AP50_all']:.4f}  objects above {_SCORE.value:g}: {counts[name]}"
            f" ({counts[name] / objects - 1:+.2%})  {seconds[name]:.1f} s"
        )


def _compare_classes(model: Any) -> None:
    from tpuseg.evaluation.miou import ConfusionMatrix
    from tpuseg.inference import predictors

    whole = predictors.load(_UNDIVIDED.value)
    folder = os.path.join(_DATA.value, "images")
    kinds = {name: ConfusionMatrix(len(model.class_names), 255) for name in ("windows", "undivided")}
    agreement = []
    for name in sorted(os.listdir(folder)):
        pixels = tifffile.imread(os.path.join(folder, name))
        truth = np.asarray(PIL.Image.open(os.path.join(_DATA.value, "masks", name.replace(".tif", ".png"))))
        (windows,) = model.predict(pixels, tile=_TILE.value, overlap=_OVERLAP.value)
        (undivided,) = whole.predict(pixels, tile=0)
        kinds["windows"].add(truth, windows)
        kinds["undivided"].add(truth, undivided)
        agreement.append((windows == undivided).mean())
    for name, matrix in kinds.items():
        print(f"{name:9}  mean IoU {matrix.metrics(model.class_names)['mean_iou']:.4f}")
    print(f"pixels with the same class {np.mean(agreement):.4%}")


def _measure_cost() -> None:
    from tpuseg.ops import windows

    os.makedirs(_WORK_DIR.value, exist_ok=True)
    print(f"{'image':>13}  tiles  seconds  seconds/megapixel  peak GB")
    for side in map(int, _SIDES.value):
        path = os.path.join(_WORK_DIR.value, f"image_{side}.tif")
        _write_image(path, side)
        arguments = [f"--model_dir={_MODEL_DIR.value}", f"--input={path}", f"--output_dir={_WORK_DIR.value}/{side}"]
        command = [sys.executable, "official/predict.py", *arguments, f"--tile={_TILE.value}", f"--overlap={_OVERLAP.value}"]
        started = time.monotonic()
        pid = os.posix_spawn(sys.executable, command, {**os.environ, "PYTHONUNBUFFERED": "1"})
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - started
        if status:
            raise RuntimeError(f"predict.py failed on {path}")
        count = len(windows.Grid((side, side), windows.Tiling(_TILE.value, _OVERLAP.value)))
        size = f"{side}x{side}"
        print(f"{size:>13}  {count:5}  {seconds:7.1f}  {seconds / side**2 * 1e6:17.3f}  {usage.ru_maxrss / 2**20:7.2f}", flush=True)
        os.remove(path)


def _write_image(path: str, side: int) -> None:
    """Writes an image that repeats a scene of 2048x2048 pixels, as a tiled TIFF, without holding it in memory."""
    import large_scenes

    random = np.random.default_rng(0)
    pixels, labels = large_scenes.background(random, 2048), np.zeros((2048, 2048), np.uint8)
    for spot in large_scenes.place(random, 2048, 94, 1024):  # The density of 1,500 objects in 8192x8192 pixels.
        large_scenes.draw(random, pixels, labels, spot)
    tiles = (
        pixels[top % 2048 : top % 2048 + 512, left % 2048 : left % 2048 + 512]
        for top in range(0, side, 512)
        for left in range(0, side, 512)
    )
    tifffile.imwrite(path, tiles, shape=(side, side, 3), dtype=np.uint8, tile=(512, 512), photometric="rgb", bigtiff=side > 30000)


def main(argv: list[str]) -> None:
    """Runs a comparison."""
    if argv[1:] == ["cost"]:
        _measure_cost()
        return
    from tpuseg.inference import predictors

    model = predictors.load(_MODEL_DIR.value)
    if model.task.predictions.detects_objects:
        _compare_objects(model)
    else:
        _compare_classes(model)


if __name__ == "__main__":
    app.run(main)
