"""The input: resumable to the bit, sharded without loss, and clear about what is wrong with it."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tpuseg import config, images, pipeline, records
from tpuseg.deeplab import inputs


def task(override=""):
    return config.load("deeplab_shapes", params_override=override).config.task


def take(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def test_a_resumed_stream_goes_on_to_the_bit(shapes_dir):
    settings = task("task.train_data.color_jitter=0.3")  # 24 pictures in batches of 8: an epoch is 3 steps.
    whole = take(inputs.training_dataset(settings, shapes_dir, None, 0), 8)
    for start in (1, 3, 5):
        resumed = take(inputs.training_dataset(settings, shapes_dir, None, start), 8 - start)
        for (features, labels), (expected, expected_labels) in zip(resumed, whole[start:], strict=True):
            np.testing.assert_array_equal(features["index"], expected["index"])
            np.testing.assert_array_equal(features["image"], expected["image"])
            np.testing.assert_array_equal(labels, expected_labels)


def test_every_epoch_has_every_picture_once_in_another_order(shapes_dir):
    data = task().train_data
    ids = [pipeline.training_source_ids(data, shapes_dir, step) for step in range(6)]
    first, second = sum(ids[:3], []), sum(ids[3:], [])
    assert len(set(first)) == 24 and sorted(first) == sorted(second) and first != second


def test_another_seed_is_another_stream(shapes_dir):
    tasks = [task(f"task.train_data.seed={seed}") for seed in (0, 1)]
    first, second = (take(inputs.training_dataset(each, shapes_dir, None, 0), 1)[0][0]["image"] for each in tasks)
    assert not np.array_equal(first, second)


def contexts(pipelines, replicas):
    return [tf.distribute.InputContext(pipelines, number, replicas) for number in range(pipelines)]


def test_two_pipelines_share_the_batches_of_one(shapes_dir):
    settings = task()
    whole = [features["image"] for features, _ in take(inputs.training_dataset(settings, shapes_dir, None, 0), 3)]
    shares = [take(inputs.training_dataset(settings, shapes_dir, context, 0), 3) for context in contexts(2, 2)]
    for step, batch in enumerate(whole):
        together = np.empty_like(batch)
        for number in (0, 1):
            together[number::2] = shares[number][step][0]["image"]
        np.testing.assert_array_equal(together, batch)


@pytest.mark.parametrize("pipelines", [1, 2, 3])
def test_evaluation_has_every_picture_once(shapes_dir, pipelines):
    settings = task("task.validation_data.global_batch_size=6")
    parts = [list(inputs.evaluation_dataset(settings, shapes_dir, c).as_numpy_iterator()) for c in contexts(pipelines, pipelines)]
    assert len({len(part) for part in parts}) == 1  # Or a collective would wait for ever.
    indices = np.concatenate([batch["index"] for part in parts for batch in part])
    assert sorted(indices[indices >= 0]) == list(range(10))
    truths = list(inputs.ground_truths(settings, shapes_dir))
    assert [truth.index for truth in truths] == list(range(10))
    first = parts[0][0]["image"][0]
    np.testing.assert_array_equal(first[:128, :160], truths[0].image)


def test_a_pattern_that_matches_nothing(shapes_dir):
    data = task("task.train_data.input_path=shapes/tfrecord/trian-*.tfrecord").train_data
    with pytest.raises(ValueError, match="no file matches .*trian.*tfrecord has 6 files, such as train-.*convert a data set there"):
        pipeline.find_files(data, shapes_dir)


def write_record(folder, image, labels, name="x"):
    example = records.SemanticExample(image, "jpeg", 128, 160, name, f"{name}.jpg", labels)
    path = os.path.join(folder, "train-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(records.encode_semantic(example))
    return path


def jpeg(height, width):
    return tf.io.encode_jpeg(np.zeros((height, width, 3), np.uint8)).numpy()


def png(height, width, value=0):
    return tf.io.encode_png(np.full((height, width, 1), value, np.uint8)).numpy()


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (jpeg(128, 160), b"", "the mask is missing"),
        (jpeg(128, 160), png(64, 160), "the mask is 160x64, the image 160x128"),
        (jpeg(128, 160), png(128, 160, 77), "20480 pixels of value 77"),
        (jpeg(128, 160)[:300], png(128, 160), "the image cannot be decoded"),
    ],
)
def test_a_broken_record_is_named(tmp_path, image, labels, message):
    path = write_record(str(tmp_path), image, labels)
    settings = task("task.train_data.input_path=train-*.tfrecord,task.train_data.global_batch_size=1")
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        take(inputs.training_dataset(settings, str(tmp_path), None, 0), 1)
    explanation = pipeline.explain(error.value, settings.train_data, str(tmp_path), 6, 255)
    assert explanation.startswith(f"{path}: record 0 (x): ") and message in explanation


def test_evaluation_refuses_a_mask_of_another_size(tmp_path):
    path = write_record(str(tmp_path), jpeg(128, 160), png(64, 80))
    settings = task("task.validation_data.input_path=train-*.tfrecord")
    with pytest.raises(tf.errors.InvalidArgumentError, match="train-00000-of-00001.tfrecord.*the mask is .height, width"):
        list(inputs.ground_truths(settings, os.path.dirname(path)))


def test_a_file_that_was_cut_off_is_named(tmp_path):
    path = write_record(str(tmp_path), jpeg(128, 160), png(128, 160))
    content = open(path, "rb").read()
    open(path, "wb").write(content[:-20])
    assert records.inspect_file(path, 6, 255).faults == [f"{path}: broken or cut off from record 0 on; write this file anew"]


def test_an_all_whole_input_has_no_explanation(shapes_dir):
    error = tf.errors.InvalidArgumentError(None, None, "of the model")
    assert pipeline.explain(error, task().train_data, shapes_dir, 6, 255) is None


def test_a_scaled_edge_stays_aligned_in_picture_and_labels():
    # Left half black and class 0, right half white and class 1; doubled, the border is at 16 of 32 in both.
    image = np.repeat([[0, 255]], 8, axis=1)[..., np.newaxis].repeat(16, 0).repeat(3, 2).astype(np.uint8)
    labels = (image[..., 0] > 0).astype(np.uint8)
    for size in (32, 24, 8):
        big = images.resize_image(tf.constant(image), tf.constant([size, size])).numpy()
        small = images.resize_labels(tf.constant(labels), tf.constant([size, size])).numpy()
        np.testing.assert_array_equal(big[0, :, 0] > 127, small[0] > 0)


def test_padding_is_ignored_and_crops_are_static():
    window = images.draw_window(tf.constant([40, 60]), (64, 64), 1.0, 1.0, tf.constant([0, 7]))
    assert window["extent"].numpy().tolist() == [40, 60] and window["target"].numpy().tolist() == [40, 60]
    image, labels = images.pad(tf.zeros([40, 60, 3], tf.uint8), tf.zeros([40, 60], tf.uint8), (64, 64), 255)
    assert image.shape == (64, 64, 3)
    np.testing.assert_array_equal(labels == 255, np.pad(np.zeros((40, 60), bool), [(0, 24), (0, 4)], constant_values=True))
    assert set(np.unique(image.numpy()[labels == 255])) == {images.PAD_VALUE}


@pytest.mark.parametrize("seed", range(20))
def test_windows_lie_inside_the_picture(seed):
    window = images.draw_window(tf.constant([90, 130]), (64, 96), 0.5, 2.0, tf.constant([3, seed]))
    offset, extent, target = (window[name].numpy() for name in ("offset", "extent", "target"))
    assert (offset >= 0).all() and (offset + extent <= [90, 130]).all()
    assert (target >= 1).all() and (target <= [64, 96]).all()
    ratios = target / extent
    assert 0.48 <= ratios.min() and ratios.max() <= 2.05 and abs(ratios[0] / ratios[1] - 1) < 0.05


@pytest.mark.parametrize("size", [(20, 30), (64, 96), (200, 150), (77, 301)])
def test_place_on_canvas_agrees_with_placed_size(size):
    placed = images.place_on_canvas(tf.fill([*size, 3], tf.constant(200, tf.uint8)), (64, 96)).numpy()
    height, width = images.placed_size(size, (64, 96))
    assert (placed[:height, :width] == 200).all()
    assert (placed[height:] == images.PAD_VALUE).all() and (placed[:, width:] == images.PAD_VALUE).all()
