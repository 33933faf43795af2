"""Caps that are derived from the records: their values, the messages about them, and that no instance is lost silently."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.data import instance_counts, instance_records
from tpuseg.data.examples import Category, Instance, InstanceExample
from tpuseg.maskrcnn import caps, inputs, targets
from tpuseg.maskrcnn.config import AnchorSamplerConfig, RoiSamplerConfig
from tpuseg.ops import masks

SETTINGS = (
    "task.model.input_size=[64,64],task.model.num_classes=1,task.train_data.input_path=train-*.tfrecord,"
    "task.train_data.global_batch_size=1,task.validation_data.input_path=val-*.tfrecord,task.train_data.flip=false,"
    "task.train_data.scale_min=1.0,task.train_data.scale_max=1.0"
)
SIZE = 64
IMAGE = tf.io.encode_png(np.zeros((SIZE, SIZE, 3), np.uint8)).numpy()


def instance(number, is_crowd=False):
    """A square of 2 x 2 pixels in a grid of 20 x 20."""
    y, x = (3.0 * place for place in divmod(number, 20))
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[int(y) : int(y) + 2, int(x) : int(x) + 2] = 1
    return Instance(
        category=Category(1, "dot"),
        class_index=0,
        is_crowd=is_crowd,
        box=np.array([y, x, y + 2, x + 2]),
        annotated_box=np.array([x, y, 2.0, 2.0]),
        annotated_area=4.0,
        runs=masks.encode(mask),
        frame=np.full((masks.FRAME_SIZE, masks.FRAME_SIZE), 255, np.uint8),
        png=b"",
    )


def write(folder, split, images):
    """Writes images that have so many instances and ignored regions, [(instances, ignored)], without a summary."""
    path = folder / f"{split}-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for count, crowds in images:
            objects = [instance(number, number >= count) for number in range(count + crowds)]
            example = InstanceExample(IMAGE, "png", SIZE, SIZE, "1", "1.png", objects)
            writer.write(instance_records.encode_instances(example))
    return str(path)


def summary_of(images):
    counts = [count for count, _ in images]
    return {
        "num_examples": len(images),
        "num_classes": 1,
        "class_names": ["dot"],
        "shards": ["train-00000-of-00001.tfrecord"],
        "most_objects": max(counts),
        "num_crowds": sum(crowds for _, crowds in images),
        "most_crowds": max(crowds for _, crowds in images),
        "instances_per_image": [[count, counts.count(count)] for count in sorted(set(counts))],
    }


def settings(override=""):
    experiment = experiments.load("maskrcnn_custom", params_override=f"{SETTINGS},{override}" if override else SETTINGS)
    return experiment.config.task


def fit(folder, override=""):
    return caps.fit(settings(override), str(folder))


def test_counts_are_those_of_the_summary_or_of_the_records(tmp_path, capsys):
    images = [(3, 0), (0, 2), (3, 1)]
    path = write(tmp_path, "train", images)
    read = instance_counts.count([path])
    assert read == instance_counts.InstanceCounts({3: 2, 0: 1}, most_crowds=2, num_crowds=3)
    assert (read.num_images, read.num_instances, read.most_instances) == (3, 6, 3)
    assert read.beyond(2) == (2, 2) and read.beyond(3) == (0, 0)
    assert instance_counts.most_instances([path]) == 3 and capsys.readouterr().out == ""
    (tmp_path / "train.json").write_text(json.dumps(summary_of([(7, 0), (1, 4)])))
    from_summary = instance_counts.count([path])
    assert from_summary == instance_counts.InstanceCounts({7: 1, 1: 1}, most_crowds=4, num_crowds=4)
    older = {key: value for key, value in summary_of([(7, 0)]).items() if key not in ("most_crowds", "instances_per_image")}
    (tmp_path / "train.json").write_text(json.dumps(older))
    assert instance_counts.most_instances([path]) == 7 and instance_counts.count([path]) == read
    assert "train.json is of an older converter" in capsys.readouterr().out


def test_records_of_ordinary_images_change_nothing(tmp_path):
    write(tmp_path, "train", [(100, 10)])
    write(tmp_path, "val", [(100, 0)])
    fitted = fit(tmp_path)
    assert fitted.changed == {} and list(caps.notes(fitted)) == []
    data, model = fitted.config.train_data, fitted.config.model
    assert (data.max_instances, data.max_ignored, data.max_crowds, model.detection.max_detections) == (100, 0, 10, 100)
    assert fitted.config.model.rpn.num_proposals_test == settings().model.rpn.num_proposals_test


def test_caps_follow_the_images_with_the_most_instances(tmp_path):
    write(tmp_path, "train", [(150, 25), (1, 0)])
    write(tmp_path, "val", [(329, 0)])
    fitted = fit(tmp_path)
    data, model = fitted.config.train_data, fitted.config.model
    assert (data.max_instances, data.max_ignored, data.max_crowds, model.detection.max_detections) == (152, 0, 25, 400)
    assert (model.rpn.num_proposals_train, model.rpn.num_proposals_test, model.rpn.num_candidates_test) == (800, 800, 1600)
    (note,) = caps.notes(fitted)
    assert "task.train_data.max_instances=152, task.train_data.max_crowds=25, task.model.detection.max_detections=400" in note
    # What was used is what a second look finds, as when the run is resumed with its own configuration.
    again = caps.fit(fitted.config, str(tmp_path))
    assert again.changed == {} and again.config.as_dict() == fitted.config.as_dict()


def test_configured_numbers_are_kept_and_warnings_give_the_ignored_instances(tmp_path):
    write(tmp_path, "train", [(150, 0), (120, 0), (99, 0)])
    write(tmp_path, "val", [(150, 0)])
    fitted = fit(tmp_path, "task.train_data.max_instances=100,task.model.detection.max_detections=100")
    assert fitted.changed == {"train_data.max_ignored": 56}
    sized, trained, evaluated = caps.notes(fitted)
    assert "task.train_data.max_ignored=56" in sized
    assert "2 of 3 training images have more than 100 instances (task.train_data.max_instances), and at most 150" in trained
    assert "70 of 369 instances" in trained and "set it to 152" in trained
    assert "has 150 instances, but at most 100 detections" in evaluated


def test_instances_beyond_the_memory_limit_are_ignored(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(summary_of([(5000, 0)])))
    write(tmp_path, "train", [(1, 0)])
    fitted = fit(tmp_path)
    data = fitted.config.train_data
    assert (data.max_instances, data.max_ignored, fitted.config.model.detection.max_detections) == (512, 4488, 1000)
    assert "4488 of 5000 instances" in list(caps.notes(fitted))[1] and "tiles" in list(caps.notes(fitted))[1]


def test_the_cap_includes_pasted_instances(tmp_path):
    write(tmp_path, "train", [(90, 0)])
    assert fit(tmp_path, "task.train_data.copy_paste=0.5").config.train_data.max_instances == 184


def labels_of(folder, override=""):
    _, labels = next(iter(inputs.training_dataset(settings(override), str(folder), None, 0)))
    return {name: value.numpy() for name, value in labels.items()}


def test_all_instances_and_ignored_regions_are_in_the_training_example(tmp_path):
    write(tmp_path, "train", [(150, 40)])
    labels = labels_of(tmp_path)
    assert (labels["classes"] >= 0).sum() == 150 and (labels["crowd_boxes"].sum(-1) > 0).sum() == 40
    assert labels["num_ignored"].tolist() == [0] and "ignored_boxes" not in labels


def test_instances_beyond_the_cap_are_in_the_list_of_ignored_ones(tmp_path):
    write(tmp_path, "train", [(150, 0)])
    labels = labels_of(tmp_path, "task.train_data.max_instances=100")
    assert labels["boxes"].shape == (1, 100, 4) and labels["ignored_boxes"].shape == (1, 56, 4)
    assert labels["num_ignored"].tolist() == [50]
    boxes = np.concatenate([labels["boxes"][0], labels["ignored_boxes"][0][:50]])
    expected = [instance(number).box for number in range(150)]
    np.testing.assert_allclose(sorted(boxes.tolist()), sorted(np.array(expected).tolist()), atol=1e-3)
    assert (labels["ignored_boxes"][0][50:] == 0).all()


def test_records_that_their_summary_does_not_describe_are_an_error(tmp_path):
    write(tmp_path, "train", [(130, 12)])
    (tmp_path / "train.json").write_text(json.dumps(summary_of([(3, 0)])))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 0 \(1\): has 30 objects beyond max_instances, 100, but"):
        labels_of(tmp_path)
    (tmp_path / "train.json").write_text(json.dumps(summary_of([(130, 0)])))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 0 \(1\): has 12 ignored regions but .* at most 10; convert"):
        labels_of(tmp_path)


def truth(boxes, ignored, crowds=()):
    boxes, ignored, crowds = (np.array(rows, np.float32).reshape(1, -1, 4) for rows in (boxes, ignored, crowds))
    classes = tf.zeros([1, boxes.shape[1]], tf.int32)
    mask = tf.ones([1, boxes.shape[1], 4, 4])
    return targets.GroundTruth(tf.constant(boxes), classes, mask, tf.constant(crowds), tf.constant([[3, 0]]), tf.constant(ignored))


OBJECT = [0, 0, 10, 10]
# Overlaps with OBJECT: 1, 0.7, 0.5, 0.3, 0.2 and 0.
ANCHORS = [OBJECT, [0, 0, 10, 7], [0, 0, 10, 5], [0, 0, 10, 3], [0, 0, 10, 2], [20, 20, 30, 30]]
FAR = [70, 70, 80, 80]


def anchor_labels(anchors, given):
    anchors, sizes = tf.constant(anchors, tf.float32), tf.constant([[100.0, 100.0]])
    return targets.label_anchors(anchors, given, sizes, AnchorSamplerConfig()).numpy()[0].tolist()


def test_an_ignored_object_makes_no_anchor_foreground_and_none_background():
    # As an object: 1, 1, -1, -1, 0, 0. The part of it that is wholly covered (IoU 0.2) is ignored too, as in a crowd.
    assert anchor_labels(ANCHORS, truth([FAR], [OBJECT])) == [-1, -1, -1, -1, -1, 0]
    assert anchor_labels(ANCHORS, truth([FAR], [[0, 0, 0, 0]])) == [0] * 6


def test_the_best_anchor_of_a_small_ignored_object_is_not_background():
    # 4 pixels in anchors of 100 and 200: IoU 0.04 and 0.02. As an object, the first would be foreground.
    anchors = [[50, 50, 60, 60], [50, 50, 60, 70], [20, 20, 30, 30]]
    assert anchor_labels(anchors, truth([FAR], [[52, 52, 54, 54]])) == [-1, 0, 0]


def test_a_larger_anchor_around_an_ignored_object_is_not_background():
    # IoU 0.5, of which half is covered: less than a crowd must cover.
    assert anchor_labels([[0, 0, 10, 20], OBJECT], truth([FAR], [OBJECT]))[0] == -1


def test_an_object_beside_an_ignored_one_stays_foreground():
    assert anchor_labels([OBJECT], truth([OBJECT], [OBJECT])) == [1]


def test_thousands_of_ignored_objects_are_all_compared():
    ignored = np.tile([[0.0, 0.0, 2.0, 2.0]], [1000, 1])
    ignored[-1] = [20, 20, 30, 30]
    assert anchor_labels(ANCHORS, truth([FAR], ignored))[-1] == -1


def roi_labels(proposals, given):
    """The label of each proposal: 1 foreground, 0 background, -1 not sampled."""
    boxes = tf.constant(np.array(proposals, np.float32)[None])
    samples = RoiSamplerConfig({"num_samples": 16, "foreground_fraction": 0.5})
    found = targets.roi_targets(boxes, tf.ones(boxes.shape[:2], tf.bool), given, 3, samples)
    drawn = {}
    rows = (values[0].numpy().tolist() for values in (found.rois, found.valid, found.foreground))
    for roi, valid, foreground in zip(*rows, strict=True):
        if valid:
            drawn[tuple(roi)] = int(foreground)
    return [drawn.get(tuple(map(float, box)), -1) for box in proposals]


def test_rois_on_an_ignored_object_are_not_sampled():
    # Covered by the ignored object: 1, 0.5, 0.4 and 0.
    proposals = [[20, 20, 30, 30], [20, 20, 30, 40], [20, 20, 30, 45], [50, 50, 60, 60], OBJECT]
    assert roi_labels(proposals, truth([OBJECT], [[20, 20, 30, 30]])) == [-1, -1, 0, 0, 1]
    assert roi_labels(proposals, truth([OBJECT], [[0, 0, 0, 0]])) == [0, 0, 0, 0, 1]


def test_the_forms_with_and_without_xla_agree():
    given = truth([OBJECT, FAR], [[20, 20, 30, 30], [0, 0, 0, 0]], [[40, 40, 60, 60]])
    anchors = tf.constant([*ANCHORS, [40, 40, 50, 50], [41, 0, 50, 9]], tf.float32)
    sizes, sampler = tf.constant([[100.0, 100.0]]), AnchorSamplerConfig()
    labels = [
        tf.function(lambda: targets.label_anchors(anchors, given, sizes, sampler), jit_compile=jit)().numpy().tolist()
        for jit in (False, True)
    ]
    assert labels[0] == labels[1] == [[1, 1, -1, -1, 0, -1, -1, 0]]


def test_training_on_no_instance_is_refused(tmp_path):
    from tpuseg import registry

    write(tmp_path, "train", [(0, 2), (0, 1)])
    write(tmp_path, "val", [(1, 0)])
    task = registry.architectures.get("maskrcnn").task_class(settings(), data_dir=str(tmp_path))
    task.fit_to_data(train=False)
    with pytest.raises(ValueError, match=r"contains no instances \(train-\*.tfrecord\), only images and 3 ignored"):
        task.fit_to_data(train=True)


def test_the_resolved_configuration_has_the_type_of_the_given_one(tmp_path):
    write(tmp_path, "train", [(150, 0)])
    fitted = fit(tmp_path).config
    assert type(fitted) is type(settings()) and fitted.train_data.max_instances == 152
    assert {field.name for field in dataclasses.fields(fitted.train_data)} == set(fitted.train_data.as_dict())


def warnings_of(config, counts, num_detections=1):
    return list(caps.evaluation_warnings(config, instance_counts.InstanceCounts.of(counts), num_detections))


def test_metrics_count_what_exceeds_the_caps():
    config = settings("task.train_data.max_instances=100,task.model.detection.max_detections=120")
    training, evaluated = (instance_counts.InstanceCounts.of(counts) for counts in ([329, 110, 5], [150, 121, 1]))
    assert caps.metrics(config, training, evaluated) == {
        "beyond_max_instances": {"images": 2, "instances": 239},
        "beyond_max_detections": {"images": 2, "instances": 31},
    }
    assert caps.metrics(config, None, evaluated) == {"beyond_max_detections": {"images": 2, "instances": 31}}


def test_evaluation_warns_of_instances_that_metrics_do_not_count():
    few, many = settings("task.model.detection.max_detections=100"), settings("task.model.detection.max_detections=200")
    assert warnings_of(few, [100, 3]) == [] and "the model found no objects" in warnings_of(few, [100], 0)[0]
    (lost,) = warnings_of(few, [150, 101, 3])
    assert "2 of 3 images have more instances than task.model.detection.max_detections, 100 (at most 150)" in lost
    assert "51 of 254 instances cannot be found" in lost
    (capped,) = warnings_of(many, [150, 3])
    assert "at most 100 detections" in capped and "1 image has more" in capped and "_all use all 200" in capped
    assert "the validation data contains no instances" in warnings_of(few, [0, 0])[0] and len(warnings_of(few, [0, 0], 0)) == 1
