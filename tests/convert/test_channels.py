"""Data sets of other numbers of channels: files, records, training batches and prediction have the same values."""

import json
import re

import channel_images
import numpy as np
import odd_images
import pytest
import tensorflow as tf

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.convert import coco, voc, voc_instances
from tpuseg.data import instance_records, pipeline, records, semantic_records
from tpuseg.data.examples import SemanticExample
from tpuseg.deeplab import inputs as deeplab_inputs
from tpuseg.inference import predictors
from tpuseg.maskrcnn import inputs as maskrcnn_inputs

KINDS = ("semantic", "instances", "voc_instances")
RANGE = (0.0, 4095.0)


def convert(root, kind, num_channels, output="out", split="train", **options):
    options = {"num_shards": 1, "num_channels": num_channels, **options}
    if kind == "instances":
        images, annotations = str(root / "JPEGImages"), str(root / f"{split}.json")
        summary = coco.convert_coco(images, annotations, str(root / output), **options)
        return summary, coco.describe(summary)
    convert_voc, describe = {
        "semantic": (voc.convert_voc, voc.describe),
        "voc_instances": (voc_instances.convert_voc_instances, coco.describe),
    }[kind]
    summary = convert_voc(str(root), split, str(root / output), class_names=["background", "thing"], **options)
    return summary, describe(summary)


def converted_records(root, output="out"):
    return list(records.read_raw(str(root / output / "train-00000-of-00001.tfrecord")))


def task_of(kind, num_channels, more="", data_dir=""):
    """A task whose training examples are the images themselves: nothing is resized, cut or mirrored."""
    architecture = "deeplab" if kind == "semantic" else "maskrcnn"
    size = {"deeplab": [32, 32], "maskrcnn": [64, 64]}[architecture]
    text = (
        f"task.model.num_channels={num_channels},task.model.input_size={size},task.model.num_classes={2 - (kind != 'semantic')},"
        "task.train_data.flip=false,task.train_data.scale_min=1,task.train_data.scale_max=1,task.train_data.generate=,"
        "task.validation_data.generate=,task.train_data.input_path=out/train-*.tfrecord,"
        "task.validation_data.input_path=out/train-*.tfrecord"
    )
    text += ",task.losses.class_weights=[1,1],task.evaluation.input_size=[32,32]" if architecture == "deeplab" else ""
    settings = experiments.load(f"{architecture}_shapes", params_override=text + more).config
    return registry.architectures.get(architecture).task_class(settings.task, data_dir=str(data_dir))


def training_image(record, task, kind):
    """The pixels of a training example, as far as the canvas shows the image."""
    raw = {"record": tf.constant(record), "file": tf.constant("some.tfrecord"), "number": tf.constant(0, tf.int64)}
    height, width = channel_images.HEIGHT, channel_images.WIDTH
    if kind == "semantic":
        parsed = pipeline.parse(raw, semantic_records.parse_semantic)
        image, _ = deeplab_inputs.augment(parsed, tf.constant([0, 0]), task.task_config)
    else:
        features, _ = maskrcnn_inputs.augment(maskrcnn_inputs.parse_record(raw), tf.constant([0, 0]), task.task_config)
        image = features["image"]
    return image.numpy()[:height, :width]


@pytest.mark.parametrize("bits", (8, 16))
@pytest.mark.parametrize("num_channels", (1, 4, 5))
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_has_the_same_values(kind, num_channels, bits, tmp_path):
    values = channel_images.values(num_channels, bits)
    channel_images.write_data_set(tmp_path, {"a": values})
    options = {"pixel_range": RANGE} if bits == 16 else {}
    summary, said = convert(tmp_path, kind, num_channels, **options)
    wanted = (values if bits == 8 else values >> 4).astype(np.uint8)
    (record,) = converted_records(tmp_path)
    feature = tf.train.Example.FromString(record).features.feature
    size = [feature[key].int64_list.value[0] for key in (records.HEIGHT, records.WIDTH, records.CHANNELS)]
    assert size == [channel_images.HEIGHT, channel_images.WIDTH, num_channels]
    task = task_of(kind, num_channels, f",task.pixel_range={list(map(int, RANGE))}" if bits == 16 else "")
    # Mask R-CNN enlarges images to its canvas: only the records' own values can be compared there.
    if kind == "semantic":
        np.testing.assert_array_equal(training_image(record, task, kind), wanted)
    encoded = tf.constant(feature[records.IMAGE].bytes_list.value[0])
    np.testing.assert_array_equal(records.decode_image(encoded, num_channels), wanted)
    assert task.inspect_record(record)[1] == []
    predictor = predictors.ImagePredictor(None, task, "", step=None)
    (path,) = (tmp_path / "JPEGImages").iterdir()
    np.testing.assert_array_equal(predictor.read(str(path)), wanted)
    np.testing.assert_array_equal(predictor.read(wanted), wanted)
    placed = task.predictions.inputs([wanted])["image"]
    assert placed.shape[-1] == num_channels and placed.dtype == tf.uint8
    # The statistics, from the values themselves.
    assert summary["num_channels"] == num_channels
    np.testing.assert_allclose(summary["pixel_mean"], wanted.reshape(-1, num_channels).mean(0), atol=0.01)
    np.testing.assert_allclose(summary["pixel_stddev"], wanted.reshape(-1, num_channels).std(0), atol=0.01)
    assert f"(task.model.num_channels: {num_channels}) with the mean {summary['pixel_mean']} and the standard deviation [" in said


@pytest.mark.parametrize("num_channels", (1, 4, 5))
def test_mask_rcnn_sees_the_channels_in_their_order(num_channels, tmp_path):
    values = np.empty((channel_images.HEIGHT, channel_images.WIDTH, num_channels), np.uint8)
    values[:] = 40 * np.arange(1, num_channels + 1)  # One shade a channel: resizing changes nothing.
    channel_images.write_data_set(tmp_path, {"a": values})
    convert(tmp_path, "instances", num_channels)
    task = task_of("instances", num_channels, ",task.train_data.rotate_right_angles=true,task.train_data.rotate_degrees=0.1")
    image = training_image(converted_records(tmp_path)[0], task, "instances")
    np.testing.assert_array_equal(image[12, 12], values[0, 0])


def test_files_that_a_graph_reads_stay_as_they_are(tmp_path):
    for num_channels in (1, 4):
        root = tmp_path / str(num_channels)
        channel_images.write_data_set(root, {"a": channel_images.values(num_channels)})
        summary, _ = convert(root, "semantic", num_channels)
        (record,) = converted_records(root)
        stored = tf.train.Example.FromString(record).features.feature[records.IMAGE].bytes_list.value[0]
        assert stored == (root / "JPEGImages/a.png").read_bytes() and summary["reencoded"] == {}


def test_three_channels_add_nothing_to_records(tmp_path):
    channel_images.write_data_set(tmp_path, {"a": channel_images.values(3)})
    for kind in KINDS:
        summary, said = convert(tmp_path, kind, 3, output=kind)
        (record,) = converted_records(tmp_path, kind)
        assert records.CHANNELS not in tf.train.Example.FromString(record).features.feature
        assert summary["num_channels"] == 3 and "pixel_mean" not in summary and "num_channels" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_too_few_channels_ends_the_conversion_with_its_name(kind, tmp_path):
    channel_images.write_data_set(tmp_path, {"a": channel_images.values(4), "b": channel_images.values(3)})
    with pytest.raises(ValueError, match=r"JPEGImages/b.png has 3 channels, but the required number is 4; give --num_channels=3"):
        convert(tmp_path, kind, 4)
    assert not (tmp_path / "out/train.json").exists()


@pytest.mark.parametrize("kind", ["semantic", "instances"])
@pytest.mark.parametrize(("stored", "wanted"), [(4, 3), (3, 4), (5, 1)])
def test_records_of_another_number_of_channels_are_refused(kind, stored, wanted, tmp_path):
    channel_images.write_data_set(tmp_path, {"a": channel_images.values(stored)})
    convert(tmp_path, kind, stored)
    said = (
        rf"task.model.num_channels is {wanted}, but the images of .*out/train.json were converted with {stored} channels; set"
        rf" task.model.num_channels={stored}, or convert them again with --num_channels={wanted}"
    )
    with pytest.raises(ValueError, match=said):
        task_of(kind, wanted, data_dir=tmp_path).prepare_data()
    task_of(kind, stored, data_dir=tmp_path).prepare_data()


def test_without_a_summary_a_batch_of_other_images_names_the_record(tmp_path):
    """Records from elsewhere: the decoder fails, and the inspection says why."""
    data = odd_images.encode(channel_images.values(3))
    labels = odd_images.encode(np.zeros((channel_images.HEIGHT, channel_images.WIDTH), np.uint8))
    record = semantic_records.encode_semantic(
        SemanticExample(data, "png", channel_images.HEIGHT, channel_images.WIDTH, "a", "a.png", labels)
    )
    expected = {4: "has 3 channels instead of 4", 1: "has 3 channels instead of 1", 5: "does not contain 5 stacked channels"}
    for num_channels, said in expected.items():
        task = task_of("semantic", num_channels)
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            training_image(record, task, "semantic")
        assert said in task.inspect_record(record)[1][0]


def test_a_record_that_says_another_number_is_a_fault(tmp_path):
    for kind in ("semantic", "instances"):
        root = tmp_path / kind
        channel_images.write_data_set(root, {"a": channel_images.values(5)})
        convert(root, kind, 5)
        (record,) = converted_records(root)
        said = "the image has 5 channels, but task.model.num_channels is 4; set it to 5"
        assert task_of(kind, 4).inspect_record(record)[1] == [said]
        inspect = semantic_records.inspect_semantic if kind == "semantic" else instance_records.inspect_instances
        assert inspect(record, *((2, 255) if kind == "semantic" else (1,))) == ("a" if kind == "semantic" else "1", [])


def test_evaluation_sees_the_channels(tmp_path):
    values = channel_images.values(5)
    channel_images.write_data_set(tmp_path, {"a": values})
    convert(tmp_path, "semantic", 5)
    means = ",task.model.pixel_mean=[10,20,30,40,50.4],task.model.pixel_stddev=[1,1,1,1,1]"
    task = task_of("semantic", 5, means, tmp_path)
    (batch,) = task.evaluation_inputs(None).take(1)
    image = batch["image"].numpy()[0]
    np.testing.assert_array_equal(image[: channel_images.HEIGHT], values)
    # What lies beside an image becomes 0 by scaling.
    assert (image[channel_images.HEIGHT :] == [10, 20, 30, 40, 50]).all()
    (truth,) = deeplab_inputs.ground_truths(task.task_config, str(tmp_path), task.evaluation_pipelines)
    np.testing.assert_array_equal(truth.image, values)


def test_mistakes_in_arrays_are_one_line():
    predictor = predictors.ImagePredictor(None, task_of("semantic", 4), "", step=None)
    with pytest.raises(ValueError, match=re.escape("must be uint8 (height, width, 4)")):
        predictor.read(np.zeros((5, 5, 3), np.uint8))


@pytest.mark.parametrize("num_channels", (1, 2, 4, 5))
@pytest.mark.parametrize("kind", ["semantic", "instances"])
def test_drawing_takes_the_first_three(kind, num_channels, tmp_path):
    values = channel_images.values(num_channels)
    task = task_of(kind, num_channels)
    if kind == "semantic":
        drawn = task.predictions.draw(np.zeros(values.shape[:2], np.uint8), values)
        wanted = values[..., :3] if num_channels >= 3 else np.repeat(values[..., :1], 3, axis=2)
        times = drawn.shape[1] // channel_images.WIDTH  # Small images are enlarged, so that their legend can be read.
        assert times > 1
        np.testing.assert_array_equal(drawn[: times * channel_images.HEIGHT : times, ::times], wanted)
    else:
        from tpuseg.maskrcnn.prediction import Objects

        empty = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros((0, 4, 4), np.float32))
        drawn = task.predictions.draw(Objects(*empty, values.shape[:2]), values)
        times = drawn.shape[1] // channel_images.WIDTH
        assert times > 1 and (drawn[0, 0] == (values[0, 0, :3] if num_channels >= 3 else values[0, 0, 0])).all()


def test_json_of_a_summary_is_read_back(tmp_path):
    channel_images.write_data_set(tmp_path, {"a": channel_images.values(5)})
    convert(tmp_path, "semantic", 5)
    path = tmp_path / "out/train.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps({**summary, "num_channels": "five"}))
    with pytest.raises(ValueError, match="`num_channels` is 'five', but must be a whole number from 1 on"):
        task_of("semantic", 5, data_dir=tmp_path).prepare_data()
