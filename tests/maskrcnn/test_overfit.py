"""Mask R-CNN overfits eight images, for which every part of it has to work."""

import json

import pytest

from tpuseg.configs import experiments
from tpuseg.convert import coco, shapes
from tpuseg.training import runs


@pytest.mark.slow
def test_eight_images_are_learned_by_heart(tmp_path):
    root = tmp_path / "shapes"
    shapes.make_shapes(str(root), shapes.ShapesConfig(num_train=8, num_val=0))
    annotations = root / "annotations" / "instances_train.json"
    coco.convert_coco(str(root / "train"), str(annotations), str(root / "instances"), num_shards=1)
    override = (
        "task.train_data.scale_min=1.0,task.train_data.scale_max=1.0,task.train_data.flip=false,task.train_data.generate='',"
        "task.validation_data.generate='',task.validation_data.input_path=shapes/instances/train-*.tfrecord,"
        "trainer.train_steps=250,trainer.validation_interval=250,trainer.checkpoint_interval=250,"
        "trainer.optimizer_config.learning_rate.polynomial.decay_steps=250"
    )
    runs.run(experiments.load("maskrcnn_shapes", params_override=override), "train_and_eval", str(tmp_path / "run"), str(tmp_path))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["segm"]["AP50"] >= 0.9 and metrics["bbox"]["AP50"] >= 0.9, metrics
