"""The input: resumable to the bit, sharded without loss, and clear about what is wrong with it."""

import functools
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.configs import experiments, schema
from tpuseg.data import pipeline, records, semantic_records
from tpuseg.data.examples import SemanticExample
from tpuseg.deeplab import inputs
from tpuseg.ops import images

INSPECT = functools.partial(semantic_records.inspect_semantic, num_classes=6, ignore_label=255)

# What a summary holds besides the names of its files.
SUMMARY = {"num_examples": 7, "num_classes": 1, "class_names": ["cat"]}


def task(override=""):
    return experiments.load("deeplab_shapes", params_override=override).config.task


def take(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def test_a_resumed_stream_goes_on_to_the_bit(shapes_dir):
    settings = task("task.train_data.color_jitter=0.3")  # 24 images in batches of 8: an epoch is 3 steps.
    whole = take(inputs.training_dataset(settings, shapes_dir, None, 0), 8)
    for start in (1, 3, 5):
        resumed = take(inputs.training_dataset(settings, shapes_dir, None, start), 8 - start)
        for (features, labels), (expected, expected_labels) in zip(resumed, whole[start:], strict=True):
            np.testing.assert_array_equal(features["index"], expected["index"])
            np.testing.assert_array_equal(features["image"], expected["image"])
            np.testing.assert_array_equal(labels, expected_labels)


def test_every_epoch_has_every_image_once_in_another_order(shapes_dir):
    data = task().train_data
    ids = [pipeline.training_source_ids(data, shapes_dir, step) for step in range(6)]
    first, second = sum(ids[:3], []), sum(ids[3:], [])
    assert len(set(first)) == 24 and sorted(first) == sorted(second) and first != second


def test_another_seed_is_another_stream(shapes_dir):
    tasks = [task(f"task.train_data.seed={seed}") for seed in (0, 1)]
    first, second = (take(inputs.training_dataset(each, shapes_dir, None, 0), 1)[0][0]["image"] for each in tasks)
    assert not np.array_equal(first, second)


def test_the_programs_global_seed_has_no_part(shapes_dir):
    data = task().train_data
    ids = []
    for seed in (5, 6):
        tf.random.set_seed(seed)
        ids.append(pipeline.training_source_ids(data, shapes_dir, 4))
    assert ids[0] == ids[1]


def contexts(pipelines, replicas):
    return [tf.distribute.InputContext(pipelines, number, replicas) for number in range(pipelines)]


def test_three_pipelines_share_two_files_record_by_record(shapes_dir):
    settings = task("task.train_data.global_batch_size=6")
    whole = [features["image"] for features, _ in take(inputs.training_dataset(settings, shapes_dir, None, 0), 4)]
    shares = [take(inputs.training_dataset(settings, shapes_dir, context, 0), 4) for context in contexts(3, 3)]
    for step, batch in enumerate(whole):
        together, indices = np.empty_like(batch), np.empty(6, int)
        for number in range(3):
            together[number::3] = shares[number][step][0]["image"]
            indices[number::3] = shares[number][step][0]["index"]
        np.testing.assert_array_equal(together, batch)
        np.testing.assert_array_equal(indices, range(6 * step, 6 * step + 6))


def origins(data, shapes_dir, context, start, count):
    """What a pipeline reads: (file, source id) by batches."""

    def example(raw, seed):
        return {"origin": tf.stack([raw["file"], records.parse_source_id(raw["record"])]), "seed": seed}, 0

    stream = pipeline.training_stream(data, shapes_dir, example, context, start)
    return [features for features, _ in take(stream, count)]


def test_the_example_in_the_docstring(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001.tfrecord")) as writer:
        for name in "abcde":
            writer.write(semantic_records.encode_semantic(SemanticExample(b"", "png", 1, 1, name, name, b"")))
    data = task("task.train_data.input_path=train-*.tfrecord,task.train_data.global_batch_size=2").train_data
    names = sum((pipeline.training_source_ids(data, str(tmp_path), step) for step in range(5)), [])
    assert sorted(names[:5]) == sorted(names[5:]) == list("abcde") and names[:5] != names[5:]
    (batch,) = origins(data, str(tmp_path), None, 3, 1)
    assert [name.decode() for _, name in batch["origin"]] == names[6:8]
    assert batch["index"].tolist() == [6, 7] and batch["seed"].tolist() == [[data.seed, 6], [data.seed, 7]]


def test_two_pipelines_read_a_file_each(shapes_dir):
    data = task("task.train_data.global_batch_size=8").train_data  # 12 records a file, 4 a step: 3 steps an epoch.
    parts = [origins(data, shapes_dir, context, 0, 6) for context in contexts(2, 2)]
    read = [{file for batch in part for file, _ in batch["origin"]} for part in parts]
    assert [len(names) for names in read] == [1, 1] and read[0] != read[1]
    first_epoch = [name for part in parts for batch in part[:3] for _, name in batch["origin"]]
    assert len(set(first_epoch)) == 24
    seeds = {tuple(seed) for part in parts for batch in part for seed in batch["seed"]}
    assert len(seeds) == 48  # No example is augmented like another one.
    resumed = origins(data, shapes_dir, contexts(2, 2)[1], 4, 2)
    for batch, expected in zip(resumed, parts[1][4:], strict=True):
        np.testing.assert_array_equal(batch["origin"], expected["origin"])
        np.testing.assert_array_equal(batch["index"], expected["index"])
    ids = pipeline.training_source_ids(data, shapes_dir, 5, num_pipelines=2)
    assert ids == [name.decode() for part in parts for _, name in part[5]["origin"]]


def test_two_replicas_of_a_pipeline_take_turns(shapes_dir):
    data = task("task.train_data.global_batch_size=8").train_data
    (context,) = contexts(1, 2)
    halves = origins(data, shapes_dir, context, 1, 2)  # Step 1, a batch for each of the replicas.
    (whole,) = origins(data, shapes_dir, None, 1, 1)
    np.testing.assert_array_equal(np.concatenate([half["origin"] for half in halves]), whole["origin"])


def copy_shapes(shapes_dir, tmp_path):
    shutil.copytree(os.path.join(shapes_dir, "shapes", "semantic"), tmp_path / "shapes" / "semantic")
    return tmp_path / "shapes" / "semantic"


def test_a_cached_input_reads_its_files_once(shapes_dir, tmp_path):
    folder = copy_shapes(shapes_dir, tmp_path)
    cached = "task.train_data.cache=true,task.validation_data.cache=true"
    stream = iter(inputs.training_dataset(task(cached), str(tmp_path), None, 0))
    evaluation = inputs.evaluation_dataset(task(cached), str(tmp_path), None)
    first = list(evaluation.as_numpy_iterator())
    next(stream)
    for path in folder.glob("*.tfrecord"):
        path.unlink()
    for _ in range(30):  # Ten epochs, more than any buffer holds.
        next(stream)
    for batch, expected in zip(evaluation.as_numpy_iterator(), first, strict=True):
        np.testing.assert_array_equal(batch["image"], expected["image"])


@pytest.mark.parametrize("pipelines", [1, 2, 3])
def test_evaluation_has_every_image_once(shapes_dir, pipelines):
    settings = task("task.validation_data.global_batch_size=6")
    parts = [list(inputs.evaluation_dataset(settings, shapes_dir, c).as_numpy_iterator()) for c in contexts(pipelines, pipelines)]
    assert len({len(part) for part in parts}) == 1  # Or a collective would wait for ever.
    indices = np.concatenate([batch["index"] for part in parts for batch in part])
    assert sorted(indices[indices >= 0]) == list(range(10))
    truths = list(inputs.ground_truths(settings, shapes_dir, pipeline.Pipelines()))
    assert [truth.index for truth in truths] == list(range(10))
    first = parts[0][0]["image"][0]
    np.testing.assert_array_equal(first[:128, :160], truths[0].image)


def data_of(*input_path, **fields):
    return schema.TrainDataConfig(input_path=list(input_path), **fields)


def test_a_pattern_that_matches_nothing(shapes_dir):
    data = data_of("shapes/semantic/trian-*.tfrecord")
    with pytest.raises(ValueError, match="no file matches .*trian.*semantic has 6 files, such as train-.*convert a data set there"):
        pipeline.find_files(data, shapes_dir)


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "camvid").mkdir()
    with pytest.raises(ValueError, match=f"no file matches .*{tmp_path} has 1 file, such as camvid;"):
        pipeline.find_files(data_of("canvid/records/train-*"), str(tmp_path))


def test_several_patterns_and_no_file_twice(shapes_dir):
    folder = os.path.join(shapes_dir, "shapes", "semantic")
    text = schema.DataConfig(input_path="shapes/semantic/val-*.tfrecord, shapes/semantic/train-00000*")
    several = data_of("shapes/semantic/val-*.tfrecord", f"{folder}/train-00000*", f"{folder}/train-00000-of-00002.tfrecord")
    expected = [os.path.join(folder, f"{name}-of-00002.tfrecord") for name in ("val-00000", "val-00001", "train-00000")]
    assert pipeline.find_files(text, shapes_dir) == pipeline.find_files(several, shapes_dir) == expected
    assert pipeline.count_examples(several, shapes_dir) == 10 + 12


def write_records(folder, name, count):
    with tf.io.TFRecordWriter(str(folder / name)) as writer:
        for _ in range(count):
            writer.write(b"record")


def test_records_are_counted_or_told_by_the_summary(tmp_path):
    names = ["a-00000-of-00002.tfrecord", "a-00001-of-00002.tfrecord"]
    write_records(tmp_path, names[0], 3)
    write_records(tmp_path, names[1], 4)
    paths = [str(tmp_path / name) for name in names]
    assert pipeline.examples_per_file(paths) == [3, 4]
    (tmp_path / "a.json").write_text(json.dumps({**SUMMARY, "shards": names, "examples_per_shard": [30, 40]}))
    assert pipeline.examples_per_file(paths[1:]) == [40]  # And not the sum of all shards.
    (tmp_path / "a.json").unlink()
    write_records(tmp_path, names[0], 5)
    assert pipeline.examples_per_file(paths) == [5, 4]


def test_files_without_records(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    (tmp_path / "b.tfrecord").touch()
    with pytest.raises(ValueError, match=r"there are no records in .*a\.tfrecord and 1 more file; .*convert again"):
        pipeline.count_examples(data_of("*.tfrecord"), str(tmp_path))
    write_records(tmp_path, "b.tfrecord", 2)
    assert pipeline.count_examples(data_of("*.tfrecord"), str(tmp_path)) == 2
    (tmp_path / "a.json").write_text(json.dumps({**SUMMARY, "shards": ["a.tfrecord"], "examples_per_shard": [7]}))
    with pytest.raises(ValueError, match=r"a\.tfrecord is empty, but 7 records were written to it"):
        pipeline.count_examples(data_of("*.tfrecord"), str(tmp_path))


def test_fewer_examples_than_pipelines(tmp_path):
    write_records(tmp_path, "a.tfrecord", 1)
    with pytest.raises(ValueError, match="1 training examples are too few for 2 input pipelines"):
        origins(data_of("a.tfrecord"), str(tmp_path), contexts(2, 2)[0], 0, 1)


def write_record(folder, image, labels, name="x"):
    example = SemanticExample(image, "jpeg", 128, 160, name, f"{name}.jpg", labels)
    path = os.path.join(folder, "train-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(semantic_records.encode_semantic(example))
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
    if "cannot be decoded" not in message:  # The graph's own checks name the record without a look at the files.
        assert f"{path}: record 0 (x): the mask " in error.value.message
    explanation = pipeline.explain(error.value, settings.train_data, str(tmp_path), INSPECT)
    assert explanation.startswith(f"{path}: record 0 (x): ") and message in explanation


def test_a_file_that_was_cut_off_is_named(tmp_path):
    path = write_record(str(tmp_path), jpeg(128, 160), png(128, 160))
    settings = task("task.train_data.input_path=train-*.tfrecord,task.train_data.global_batch_size=1")
    stream = inputs.training_dataset(settings, str(tmp_path), None, 0)
    content = open(path, "rb").read()
    open(path, "wb").write(content[:-20])
    with pytest.raises(tf.errors.DataLossError) as error:
        take(stream, 1)
    explanation = pipeline.explain(error.value, settings.train_data, str(tmp_path), INSPECT)
    assert explanation.startswith(f"{path}: damaged or truncated at record 0; convert again to rewrite this file")
    with pytest.raises(ValueError, match=f"{path} is truncated, or is not a file of records .*copy or convert it again"):
        pipeline.count_examples(settings.train_data, str(tmp_path))


def test_an_error_of_the_model_is_not_looked_for_in_the_files(shapes_dir, monkeypatch):
    monkeypatch.setattr(records, "find_fault", lambda *args: pytest.fail("read all files"))
    error = tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [8,4] [[{{node model/add}}]] [Op:__inference]")
    assert pipeline.explain(error, task().train_data, shapes_dir, INSPECT) is None
    assert pipeline.explain(ValueError("GetNext"), task().train_data, shapes_dir, INSPECT) is None


def test_an_all_whole_input_has_no_explanation(shapes_dir):
    error = tf.errors.InvalidArgumentError(None, None, "jpeg::Uncompress failed. [[{{node DecodeJpeg}}]] [[IteratorGetNext]]")
    assert pipeline.explain(error, task().train_data, shapes_dir, INSPECT) is None


def test_a_scaled_edge_stays_aligned_in_image_and_labels():
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
def test_windows_lie_inside_the_image(seed):
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


def test_records_that_are_removed_while_they_are_read(shapes_dir, tmp_path):
    shutil.copytree(os.path.join(shapes_dir, "shapes/semantic"), tmp_path / "semantic")
    data = schema.TrainDataConfig(input_path="semantic/train-*.tfrecord", global_batch_size=4)
    before = pipeline.stamps(data, str(tmp_path))
    assert len(before) == 2 and pipeline.stamps(data, str(tmp_path)) == before
    paths = pipeline.find_files(data, str(tmp_path))
    reads = tf.function(lambda iterator: next(iterator))
    iterator = iter(tf.data.Dataset.from_tensor_slices(paths).flat_map(tf.data.TFRecordDataset).repeat())
    reads(iterator)
    for path in (tmp_path / "semantic").glob("train-*.tfrecord"):
        path.unlink()
    with pytest.raises(tf.errors.NotFoundError) as error:
        for _ in range(100):
            reads(iterator)
    explanation = pipeline.explain(error.value, data, str(tmp_path), INSPECT)
    assert explanation.startswith(f"a file of records was removed: {tmp_path}/semantic/train-0000")
    assert "No such file" in explanation and len(explanation.splitlines()) == 2
