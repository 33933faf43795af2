"""Mask R-CNN's train and evaluation steps: under XLA, the same on one replica and on two; and a whole small run."""

import contextlib
import io
import json
import shutil

import numpy as np
import PIL.Image
import pytest
import steps
import tensorflow as tf
import tiny_backbone
from pycocotools.coco import COCO

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.evaluation import coco
from tpuseg.inference import predictors
from tpuseg.maskrcnn import inputs
from tpuseg.training import runs
from tpuseg.utils import device

SMALL = (
    f"{tiny_backbone.OVERRIDE},task.model.input_size=[128,192],task.model.fpn.num_filters=16,"
    "task.model.box_head.dense_units=32,task.model.mask_head.num_filters=16,task.model.rpn.num_proposals_train=60,"
    "task.train_data.global_batch_size=4,task.validation_data.global_batch_size=4"
)
CPUS = ["/cpu:0", "/cpu:1"]


def make(override=""):
    return steps.build("maskrcnn_shapes", SMALL + ("," + override if override else ""), learning_rate=0.01)


@pytest.fixture(scope="module")
def batch(shapes_dir):
    task = experiments.load("maskrcnn_shapes", params_override=SMALL).config.task
    return next(iter(inputs.training_dataset(task, shapes_dir, None, 0)))


def test_train_step_compiles_with_xla_in_a_tpus_forms_and_does_the_same(batch):
    found, changes = [], []
    for jit in (False, True):
        task, model, optimizer = make()
        before = steps.flat(model)
        step = tf.function(lambda i, t=task, m=model, o=optimizer: t.train_step(i, m, o), jit_compile=jit)
        with device.building_for_tpu(jit):
            found.append({name: float(value) for name, value in step(batch).items()})
        changes.append(steps.flat(model) - before)
    assert set(found[0]) == set(task.loss_names)
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=2e-3, abs=1e-5), name
    assert np.linalg.norm(changes[1] - changes[0]) < 0.01 * np.linalg.norm(changes[0])


def test_evaluation_step_compiles_with_xla(batch):
    task, model, _ = make()
    features, _ = batch
    plain = task.validation_step(features, model)
    compiled = tf.function(lambda i: task.validation_step(i, model), jit_compile=True)(features)
    assert plain["boxes"].shape == (4, 20, 4) and plain["masks"].shape == (4, 20, 28, 28)
    # An untrained network's scores are nearly equal, so that their order is open; their values are not.
    np.testing.assert_allclose(plain["scores"], compiled["scores"], atol=1e-4)


def test_two_replicas_do_what_one_does(batch):
    # Synchronised statistics round otherwise on two replicas, and an untrained network's proposals lie so close together
    # that it samples others then.
    override = f"{SMALL},task.model.norm.mode=frozen"
    one, two = (steps.on_replicas("maskrcnn_shapes", override, 0.01, batch, devices) for devices in (CPUS[:1], CPUS))
    for name, value in one.losses.items():
        assert two.losses[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    # A gradient that was not added up, or averaged twice, would be off by a factor of two.
    assert np.linalg.norm(one.change - two.change) < 0.001 * np.linalg.norm(one.change)


def test_a_batch_without_objects_has_finite_losses(batch):
    features, labels = batch
    empty = {**labels, "classes": tf.fill(labels["classes"].shape, -1), "boxes": tf.zeros_like(labels["boxes"])}
    task, model, optimizer = make()
    logs = tf.function(lambda i: task.train_step(i, model, optimizer))((features, empty))
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert float(logs["mask"]) == float(logs["box"]) == float(logs["rpn_box"]) == 0
    assert all(np.isfinite(variable.numpy()).all() for variable in model.trainable_variables)


def test_truth_as_prediction_is_perfect(shapes_dir):
    """Boxes and masks go to the canvas and back, and to COCO's metrics, without a loss that matters."""
    override = SMALL + ",task.train_data.input_path=shapes/instances/val-*.tfrecord"
    loaded = experiments.load("maskrcnn_shapes", params_override=override)
    task = registry.architectures.get("maskrcnn").task_class(loaded.config.task, data_dir=shapes_dir)
    state = task.begin_evaluation()
    assert [category.id for category in state.evaluator.categories] == [3, 7, 8, 20, 41]
    for index, truth in enumerate(state.evaluator.truths):
        rows = truth.annotations
        boxes = np.array([[y, x, y + h, x + w] for x, y, w, h in (row["bbox"] for row in rows)])
        ids = [category.id for category in state.evaluator.categories]
        shown = np.stack([_frame(row["segmentation"], box) for row, box in zip(rows, boxes, strict=True)])
        outputs = {
            "boxes": boxes[np.newaxis] * 0.75,  # As on a canvas of three quarters.
            "scores": np.ones((1, len(rows)), np.float32),
            "classes": np.array([[ids.index(row["category_id"]) for row in rows]]),
            "valid": np.ones((1, len(rows)), bool),
            "masks": shown[np.newaxis],
            "image_size": np.array([[truth.height * 0.75, truth.width * 0.75]]),
            "index": np.array([index]),
        }
        state.add_batch(outputs)
    metrics = state.evaluator.metrics()
    assert metrics["bbox"]["AP"] > 0.999 and metrics["segm"]["AP"] > 0.97


def _frame(runs, box):
    from tpuseg.ops import masks

    return masks.frame_of_runs(runs, box).astype(np.float32) / 255


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shapes_dir):
    """The model directory of a run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "maskrcnn"
    override = SMALL + (
        ",trainer.train_steps=4,trainer.checkpoint_interval=2,trainer.validation_interval=4,trainer.summary_interval=1,"
        "task.evaluation.num_pictures=2,task.evaluation.drawn_score=0.0,task.model.detection.score_threshold=0.0"
    )
    experiment = experiments.load("maskrcnn_shapes", params_override=override)
    runs.run(experiment, "train_and_eval", str(folder), shapes_dir)
    return folder


def test_a_run_writes_metrics_images_and_detections(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["step"] == 4 and metrics["num_images"] == 10 and metrics["num_instances"] > 10
    assert metrics["beyond_max_instances"] == metrics["beyond_max_detections"] == {"images": 0, "instances": 0}
    assert set(metrics["bbox"]) == set(metrics["segm"]) == set(coco.METRICS)
    assert set(metrics["per_class"]) == {"circle", "square", "triangle", "star", "ring"}
    for number in range(2):
        with PIL.Image.open(finished / "pictures" / f"{number}.png") as image:
            width, height = image.size
        assert width == 2 * 2 * 160 + 4 and 2 * 128 + 18 < height < 2 * 128 + 118  # Small images are enlarged; counts stand below.
    assert len(json.loads((finished / "detections.json").read_text())) == metrics["num_detections"] > 0


def test_an_evaluation_reports_the_losses(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    parts = {name: value for name, value in metrics["losses"].items() if name != "loss"}
    assert set(parts) == {"rpn_objectness", "rpn_box", "class", "box", "mask"} and all(value > 0 for value in parts.values())
    assert metrics["loss"] == metrics["losses"]["loss"] == pytest.approx(sum(parts.values()), rel=1e-5)


def test_predictions_are_those_of_evaluation_and_pycocotools_takes_them(finished, shapes_dir):
    predictor = predictors.Predictor(str(finished))
    paths = [f"{shapes_dir}/shapes/val/val_{number:06d}.jpg" for number in range(4)]
    images = [np.asarray(PIL.Image.open(path)) for path in paths]
    found = predictor.predict(images)
    annotations = f"{shapes_dir}/shapes/annotations/instances_val.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        ids = {row["file_name"]: row["id"] for row in truth.dataset["images"]}
        own = [ids[path.rpartition("/")[2]] for path in paths]
        rows = [row for objects, one in zip(found, own, strict=True) for row in predictor.task.predictions.results(objects, one)]
        loaded = truth.loadRes(json.loads(json.dumps(rows)))
    assert len(loaded.anns) == len(rows) and {row["category_id"] for row in rows} <= {3, 7, 8, 20, 41}
    evaluated = [row for row in json.loads((finished / "detections.json").read_text()) if row["image_id"] in own]
    assert len(evaluated) == len(rows)
    np.testing.assert_allclose(sorted(row["score"] for row in evaluated), sorted(row["score"] for row in rows), atol=1e-4)


def test_classes_that_do_not_fit_say_both_numbers(shapes_dir, tmp_path):
    experiment = experiments.load("maskrcnn_shapes", params_override=SMALL + ",task.model.num_classes=3")
    with pytest.raises(ValueError, match=r"task.model.num_classes is 3, but the records of .* have 5 classes \(circle, square"):
        runs.run(experiment, "train", str(tmp_path), shapes_dir)


def test_training_on_no_instance_is_refused(shapes_dir, tmp_path):
    shutil.copytree(f"{shapes_dir}/shapes/instances", tmp_path / "none")
    summary = json.loads((tmp_path / "none" / "train.json").read_text())
    (tmp_path / "none" / "train.json").write_text(json.dumps({**summary, "num_objects": 0, "num_crowds": 4}))
    override = f"{SMALL},task.train_data.input_path={tmp_path}/none/train-*.tfrecord"
    experiment = experiments.load("maskrcnn_shapes", params_override=override)
    with pytest.raises(ValueError, match=r"have 0 instances \(4 ignored regions\), so there is nothing to learn"):
        runs.run(experiment, "train", str(tmp_path / "run"), shapes_dir)


def test_records_of_the_other_kind_are_refused(shapes_dir, tmp_path):
    override = SMALL + ",task.train_data.input_path=shapes/semantic/train-*.tfrecord"
    experiment = experiments.load("maskrcnn_shapes", params_override=override)
    with pytest.raises(ValueError, match="are of kind `semantic`, but this model is trained on `instances` records; convert with"):
        runs.run(experiment, "train", str(tmp_path), shapes_dir)
