"""DeepLab's input: what a crop shows, images and labels of every kind of file, and tensorflow-datasets by name."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tpuseg.configs import experiments
from tpuseg.data import pipeline, semantic_records
from tpuseg.deeplab import config as deeplab_config
from tpuseg.deeplab import inputs

HEIGHT, WIDTH = 96, 120


def task(override=""):
    small = "task.model.input_size=[64,80],task.train_data.global_batch_size=2,task.validation_data.global_batch_size=2"
    return experiments.load("deeplab_shapes", params_override=f"{small},{override}" if override else small).config.task


def stripes():
    """Labels in vertical stripes of 12 pixels, classes 0 to 5, and an image whose grey value is 40 times the class."""
    labels = np.tile(np.arange(WIDTH) // 12 % 6, (HEIGHT, 1)).astype(np.uint8)
    return np.repeat(labels[..., np.newaxis] * 40, 3, axis=2), labels


def encode(array, kind, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def raw(kind="png", labels=None):
    image, striped = stripes()
    return {
        "image": tf.constant(encode(image, kind, **({"quality": 95} if kind == "jpeg" else {}))),
        "labels": tf.constant(encode(striped if labels is None else labels, "png")),
        "source_id": tf.constant("stripes"),
        "file": tf.constant("a.tfrecord"),
        "number": tf.constant(3, tf.int64),
    }


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_show_the_same_place(kind, seed):
    settings = task("task.train_data.scale_min=0.5,task.train_data.scale_max=2.0")
    image, labels = (value.numpy() for value in inputs.augment(raw(kind), tf.constant([0, seed]), settings))
    assert image.shape == (64, 80, 3) and image.dtype == np.uint8 and labels.shape == (64, 80) and labels.dtype == np.uint8
    padded = labels == 255
    assert (image[padded] == 127).all()
    # Away from the stripes' borders, where images are interpolated, the grey value tells the class.
    inside = ~padded
    for shift in (1, 2, 3):
        inside &= (labels == np.roll(labels, shift, 1)) & (labels == np.roll(labels, -shift, 1))
    assert inside.sum() > 300
    assert np.abs(image[inside, 0].astype(int) - 40 * labels[inside].astype(int)).max() <= (0 if kind == "png" else 12)


def test_a_jpeg_window_is_the_same_as_a_window_of_the_whole_jpeg():
    whole = raw("jpeg")
    as_png = {**whole, "image": tf.io.encode_png(tf.io.decode_jpeg(whole["image"], channels=3))}
    for seed in range(6):
        crops = [inputs.augment(record, tf.constant([1, seed]), task())[0].numpy().astype(int) for record in (whole, as_png)]
        # Colours are half as fine as brightness in a JPEG, and smoothed only over what was decoded: borders may differ a little.
        assert np.abs(crops[0] - crops[1]).mean() < 0.5


def test_mirroring_and_scale_depend_on_the_seed_alone():
    draws = [inputs.augment(raw(), tf.constant([0, seed]), task())[1].numpy() for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_nothing_random_is_the_image_itself():
    unchanged = "task.train_data.scale_min=1,task.train_data.scale_max=1,task.train_data.flip=false"
    settings = task(f"task.model.input_size=[100,128],{unchanged}")
    image, labels = (value.numpy() for value in inputs.augment(raw(), tf.constant([0, 0]), settings))
    expected_image, expected_labels = stripes()
    np.testing.assert_array_equal(image[:HEIGHT, :WIDTH], expected_image)
    np.testing.assert_array_equal(labels[:HEIGHT, :WIDTH], expected_labels)
    assert (labels[HEIGHT:] == 255).all() and (labels[:, WIDTH:] == 255).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((HEIGHT, WIDTH), 6, np.uint8), "the mask has the value 6, which is neither one of the 6 classes"),
        (np.zeros((WIDTH, HEIGHT), np.uint8), "the mask is 96x120, the image 120x96"),
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_wrong_record_is_named_with_its_value(kind, labels, message):
    settings = task()
    dataset = tf.data.Dataset.from_tensors(raw(kind, labels))
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        next(iter(dataset.map(lambda record: inputs.augment(record, tf.constant([0, 0]), settings))))
    assert f"a.tfrecord: record 3 (stripes): {message}" in error.value.message


def test_ignored_pixels_are_no_fault():
    labels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    assert (inputs.augment(raw(labels=labels), tf.constant([0, 0]), task())[1] == 255).numpy().all()


def test_batches_have_static_shapes(shapes_dir):
    features, labels = inputs.training_dataset(task(), shapes_dir, None, 0).element_spec
    assert features["image"].shape == (2, 64, 80, 3) and labels.shape == (2, 64, 80) and features["index"].shape == (2,)
    features = inputs.evaluation_dataset(task(), shapes_dir, None).element_spec
    assert features["image"].shape == (2, 128, 160, 3) and features["index"].dtype == tf.int64


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A tensorflow-datasets data set of three images whose classes begin at 1, as those of some real ones do."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tfds")

    class TinyPets(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = folder  # Where metadata would lie; a test module is no package.

        def _info(self):
            image, mask = tfds.features.Image(shape=(None, None, 3)), tfds.features.Image(shape=(None, None, 1))
            features = tfds.features.FeaturesDict({"image": image, "segmentation_mask": mask, "file_name": tfds.features.Text()})
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            image, labels = stripes()
            for number in range(3):
                mask = np.roll(labels, number, 1)[..., np.newaxis] + 1
                yield number, {"image": np.roll(image, number, 1), "segmentation_mask": mask, "file_name": f"pet{number}.png"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(folder))
        yield "tiny_pets"


def from_tfds(name, split, offset):
    settings = task()
    for data in (settings.train_data, settings.validation_data):
        data.input_path, data.tfds_name, data.tfds_split, data.tfds_label_offset = "", name, split, offset
    return settings


def test_tensorflow_datasets_by_name(pets):
    settings = from_tfds(pets, "train", -1)
    assert pipeline.count_examples(settings.train_data, "") == 3
    truths = list(inputs.ground_truths(settings, "", pipeline.Pipelines()))
    image, labels = stripes()
    by_name = {truth.source_id: truth for truth in truths}
    assert sorted(by_name) == ["pet0.png", "pet1.png", "pet2.png"]
    np.testing.assert_array_equal(by_name["pet2.png"].labels, np.roll(labels, 2, 1))
    np.testing.assert_array_equal(by_name["pet2.png"].image, np.roll(image, 2, 1))
    features, batch = next(iter(inputs.training_dataset(settings, "", None, 0)))
    assert set(np.unique(batch)) <= {0, 1, 2, 3, 4, 5, 255} and features["image"].shape == (2, 64, 80, 3)
    assert len(set(pipeline.training_source_ids(settings.train_data, "", 4))) == 2
    assert pipeline.count_examples(from_tfds(pets, "train[:67%]", -1).train_data, "") == 2


def test_the_evaluation_stream_of_tensorflow_datasets(pets):
    settings = from_tfds(pets, "train", -1)
    batches = list(inputs.evaluation_dataset(settings, "", None).as_numpy_iterator())
    assert [batch["index"].tolist() for batch in batches] == [[0, 1], [2, -1]]  # Filled up.
    canvas = deeplab_config.evaluation_canvas(settings)
    for truth in inputs.ground_truths(settings, "", pipeline.Pipelines()):
        placed = batches[truth.index // 2]["image"][truth.index % 2]
        assert placed.shape == (*canvas, 3)
        np.testing.assert_array_equal(placed[:HEIGHT, :WIDTH], truth.image)


def test_the_training_stream_of_tensorflow_datasets_goes_on_to_the_bit(pets):
    settings = from_tfds(pets, "train", -1)
    whole = list(inputs.training_dataset(settings, "", None, 0).take(4).as_numpy_iterator())
    resumed = list(inputs.training_dataset(settings, "", None, 2).take(2).as_numpy_iterator())
    for (features, labels), (expected, expected_labels) in zip(resumed, whole[2:], strict=True):
        np.testing.assert_array_equal(features["image"], expected["image"])
        np.testing.assert_array_equal(labels, expected_labels)


def test_an_offset_below_zero_is_ignored(pets):
    settings = from_tfds(pets, "train", -2)  # The first class, 1, becomes -1, which is 255 in 8 bits.
    _, labels = stripes()
    expected = np.where(labels == 0, 255, labels.astype(int) - 1)
    truth = {truth.source_id: truth.labels for truth in inputs.ground_truths(settings, "", pipeline.Pipelines())}["pet0.png"]
    np.testing.assert_array_equal(truth, expected)


def test_an_offset_leaves_the_ignore_label_alone():
    labels = np.array([[1, 2, 255]], np.uint8)
    raw = {"labels": tf.constant(encode(labels, "PNG")), "image": tf.constant(encode(np.zeros((1, 3, 3), np.uint8), "PNG"))}
    place = {"file": tf.constant("pets train"), "number": tf.constant(0, tf.int64), "source_id": tf.constant("a")}
    shifted = inputs._decode_labels({**raw, **place, "label_offset": tf.constant(255, tf.uint8)}, task())
    np.testing.assert_array_equal(shifted, [[0, 1, 255]])


def test_a_tensorflow_dataset_with_wrong_values_is_named(pets):
    settings = from_tfds(pets, "train", 0)  # Forgotten: class 6 is no class.
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        next(iter(inputs.training_dataset(settings, "", None, 0)))
    inspect = functools.partial(semantic_records.inspect_semantic, num_classes=6, ignore_label=255)
    explanation = pipeline.explain(error.value, settings.train_data, "", inspect)
    assert explanation.startswith("tiny_pets train: record ") and "the mask has the value 6, which is neither" in explanation


def test_a_tensorflow_dataset_that_is_not_there(pets):
    with pytest.raises(ValueError, match="tensorflow-datasets has no data set `tiny_petz`"):
        pipeline.count_examples(from_tfds("tiny_petz", "train", 0).train_data, "")
    with pytest.raises(ValueError, match="tiny_pets has no split `test`, only train"):
        pipeline.count_examples(from_tfds(pets, "test", 0).train_data, "")
