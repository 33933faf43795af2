"""An exported Mask R-CNN on large images by windows: tpuseg beside SAHI, with the same SavedModel, windows and batch size.

python benchmarks/large_scenes.py --output=/tmp/scenes
python benchmarks/sahi_prediction.py --saved_model=exported/scenes --data=/tmp/scenes --tile=1024

SAHI needs an environment of its own, because it brings another OpenCV. It has no model class for SavedModels, so this file has
one, which calls the signature `images` with a batch of windows and converts the masks to polygons as SAHI's own classes do.
SAHI runs with its default rule (GREEDYNMM by IOS at 0.5), and with the rule that it chooses itself for scores below 0.1 (NMS by
IOU). The time of the network alone is measured for both.
"""

import os
import sys
import time
from typing import Any

import large_images  # Its flags are those of this program, too.
import numpy as np
import tifffile
from absl import app, flags

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(_HERE, os.pardir, "official"))
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_SAVED_MODEL = flags.DEFINE_string("saved_model", None, "SavedModel of official/export.py.", required=True)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Windows in a batch.")


def _sahi_model(path: str) -> Any:
    """Returns SAHI's model of a SavedModel."""
    import tensorflow as tf
    from sahi.models.base import DetectionModel
    from sahi.prediction import ObjectPrediction
    from sahi.utils.cv import get_coco_segmentation_from_bool_mask

    class SavedModel(DetectionModel):
        seconds = 0.0

        def load_model(self) -> None:
            self.model = tf.saved_model.load(self.model_path)
            names = self.model.signatures["class_names"]()["class_names"].numpy()
            self.category_mapping = {str(number): name.decode() for number, name in enumerate(names)}

        def perform_inference(self, image: np.ndarray) -> None:
            self.perform_batch_inference([image])

        def perform_batch_inference(self, images: list[np.ndarray]) -> None:
            started = time.monotonic()
            outputs = self.model.signatures["images"](images=tf.constant(np.stack(images)))
            self._original_predictions = {name: value.numpy() for name, value in outputs.items()}
            self.seconds += time.monotonic() - started

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            outputs = self._original_predictions
            self._object_prediction_list_per_image = []
            for row, count in enumerate(outputs["num_detections"].tolist()):
                found = []
                for place in range(count):
                    score = float(outputs["scores"][row, place])
                    polygons = get_coco_segmentation_from_bool_mask(outputs["pasted"][row, place] > 0)
                    if score < self.confidence_threshold or not polygons:
                        continue
                    y0, x0, y1, x1 = outputs["boxes"][row, place].tolist()
                    label = int(outputs["classes"][row, place])
                    found.append(
                        ObjectPrediction(
                            bbox=[x0, y0, x1, y1],
                            category_id=label,
                            category_name=self.category_mapping[str(label)],
                            segmentation=polygons,
                            score=score,
                            shift_amount=shift_amount_list[row],
                            full_shape=full_shape_list[row],
                        )
                    )
                self._object_prediction_list_per_image.append(found)

    return SavedModel(model_path=path, confidence_threshold=0.05, device="cpu")


def _predict_with_sahi(model: Any, pixels: np.ndarray, forced: bool) -> tuple[Any, ...]:
    """Returns boxes, scores, classes and run lengths."""
    from sahi.predict import get_sliced_prediction

    from tpuseg.ops import masks

    tile, overlap = flags.FLAGS.tile, flags.FLAGS.overlap
    result = get_sliced_prediction(
        pixels,
        model,
        slice_height=tile,
        slice_width=tile,
        overlap_height_ratio=overlap,
        overlap_width_ratio=overlap,
        perform_standard_pred=False,
        batch_size=_BATCH_SIZE.value,
        force_postprocess_type=forced,
        verbose=0,
    )
    found = sorted(result.object_prediction_list, key=lambda one: -one.score.value)
    corners = np.array([one.bbox.to_xyxy() for one in found], np.float64).reshape(-1, 4)
    runs = [masks.run_lengths(one.mask.segmentation, *pixels.shape[:2]) for one in found]
    return corners[:, [1, 0, 3, 2]], [one.score.value for one in found], [one.category.id for one in found], runs


def main(argv: list[str]) -> None:
    """Prints time and AP of each."""
    del argv
    from tpuseg.evaluation.coco import CocoEvaluator
    from tpuseg.inference import predictors, tiled
    from tpuseg.ops import windows

    categories, truths, paths = large_images.read_truths(flags.FLAGS.data)
    names = ("tpuseg", "sahi GREEDYNMM/IOS", "sahi NMS/IOU")
    evaluators = {name: CocoEvaluator(categories, truths, large_images.MAX_DETECTIONS) for name in names}
    seconds, network = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    ours, theirs = predictors.load(_SAVED_MODEL.value), _sahi_model(_SAVED_MODEL.value)
    tiling = windows.Tiling(flags.FLAGS.tile, flags.FLAGS.overlap)
    step = ours._step

    def timed(batch: Any) -> Any:
        started = time.monotonic()
        outputs = {name: value.numpy() for name, value in step(batch).items()}
        network["tpuseg"] += time.monotonic() - started
        return {name: _Array(value) for name, value in outputs.items()}

    ours._step = timed
    warm = tifffile.imread(paths[0])[: tiling.size, : tiling.size]
    ours.predict(np.stack([warm] * _BATCH_SIZE.value), tile=0)
    theirs.perform_batch_inference([warm] * _BATCH_SIZE.value)
    network, theirs.seconds = dict.fromkeys(names, 0.0), 0.0
    for index, path in enumerate(paths):
        pixels = tifffile.imread(path)
        for name in names:
            started, before = time.monotonic(), theirs.seconds
            if name == "tpuseg":
                with ours.open(pixels) as source:
                    found = tiled.predict(ours, source, tiling, _BATCH_SIZE.value)
                values = found.boxes, found.scores, found.classes, found.runs()
            else:
                values = _predict_with_sahi(theirs, pixels, forced="GREEDYNMM" in name)
                network[name] += theirs.seconds - before
            seconds[name] += time.monotonic() - started
            evaluators[name].add_runs(index, *values)
    for name, evaluator in evaluators.items():
        metrics = evaluator.metrics()
        print(
            f"{name:19}  {seconds[name]:7.1f} s, of which network {network[name]:7.1f} s  mask AP_all"
            f" {metrics['segm']['AP_all']:.4f}  box AP_all {metrics['bbox']['AP_all']:.4f}  {metrics['num_detections']} detections"
        )


class _Array:
    """An array with the method of a tensor."""

    def __init__(self, value: np.ndarray) -> None:
        self._value = value

    def numpy(self) -> np.ndarray:
        return self._value


if __name__ == "__main__":
    app.run(main)
