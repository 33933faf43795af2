"""What a run is told that starts from random weights, and what experiments for own data start from."""

import pytest

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.weights.report import Report

RECORDS = "task.train_data.generate='',task.train_data.input_path=shapes/semantic/train-*.tfrecord"


def task(data_dir, override=RECORDS, name="deeplab_shapes"):
    loaded = experiments.load(name, params_override=override).config
    return registry.architectures.get(loaded.architecture).task_class(loaded.task, data_dir=data_dir)


def test_few_images_and_random_weights(shapes_dir, capsys):
    task(shapes_dir).initialize(None)
    said = capsys.readouterr().out
    assert "warning: training starts from random weights, for which 24 images are not enough; task.init_checkpoint=imagenet" in said


def test_frozen_stages_of_random_weights(shapes_dir, capsys):
    task(shapes_dir, "", "maskrcnn_coco").initialize(None)
    assert "warning: task.model.num_frozen_stages freezes random weights" in capsys.readouterr().out


def test_frozen_stages_of_adapted_weights(monkeypatch, capsys):
    monkeypatch.setattr("tpuseg.weights.load_initial", lambda *_, **__: Report("a.pth", restored=["backbone/stem/0/conv"]))
    means = "task.model.pixel_mean=[1,2,3,4],task.model.pixel_stddev=[1,1,1,1],task.init_checkpoint=a.pth"
    task("", f"task.model.num_channels=4,{means}", "maskrcnn_coco").initialize(None)
    said = "warning: task.model.num_frozen_stages freezes the first convolution, which was only adapted to 4 channels"
    assert said in capsys.readouterr().out
    task("", f"task.model.num_channels=4,{means},task.model.num_frozen_stages=0", "maskrcnn_coco").initialize(None)
    assert "warning" not in capsys.readouterr().out


def test_generated_data_is_made_for_random_weights(shapes_dir, capsys):
    task(shapes_dir, "").initialize(None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["deeplab_custom", "maskrcnn_custom", "deeplab_camvid"])
def test_own_data_starts_from_imagenet(name):
    assert experiments.load(name).config.task.init_checkpoint == "imagenet"
