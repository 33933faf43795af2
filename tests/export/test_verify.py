"""The three scores of `export.py --verify`: equal where nothing is wrong, and different where one of the three ways is."""

import types

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tpuseg.convert.images import png
from tpuseg.convert.objects import Annotation, instance
from tpuseg.data import instance_records, semantic_records
from tpuseg.data.examples import Category, InstanceExample, SemanticExample
from tpuseg.deeplab import config
from tpuseg.deeplab import exported as deeplab_exported
from tpuseg.export import verify
from tpuseg.inference import predictors
from tpuseg.ops import masks


def semantic_record(predictor, photo, encoded, source_id):
    """A record whose truth is what the model predicts but for a quarter of the image."""
    labels = predictor(photo)
    labels[: len(labels) // 2, : labels.shape[1] // 2] = 0
    size = photo.shape[:2]
    return semantic_records.encode_semantic(
        SemanticExample(encoded, "png", *size, source_id, source_id, png(PIL.Image.fromarray(labels)))
    )


def instances_record(predictor, photo, encoded, source_id):
    """A record whose truth is every second object that the model predicts."""
    found, objects = predictor(photo), []
    for number, runs in list(enumerate(found.runs()))[::2]:
        if masks.area(runs):
            place, box = int(found.classes[number]), masks.bounding_box(runs).tolist()
            category = Category(place + 1, predictor.class_names[place])
            objects.append(instance(Annotation("", category, place, False, box, None, runs), photo.shape[:2], []))
    assert len(objects) > 3
    return instance_records.encode_instances(InstanceExample(encoded, "png", *photo.shape[:2], source_id, source_id, objects))


RECORDS = {"deeplab": semantic_record, "maskrcnn": instances_record}


@pytest.fixture(scope="module")
def truths(models, photos, tmp_path_factory):
    """Records whose truth comes from what each model predicts, so that scores are high and every error moves them."""
    folder = tmp_path_factory.mktemp("truths")
    paths = {name: str(folder / f"{name}.tfrecord") for name in models}
    for name, path in paths.items():
        with tf.io.TFRecordWriter(path) as writer:
            for place, photo in enumerate(photos.values(), start=1):
                writer.write(RECORDS[name](models[name], photo, png(PIL.Image.fromarray(photo)), str(place)))
    return paths


@pytest.mark.parametrize("name", ["deeplab", "maskrcnn"])
def test_three_equal_scores(name, models, exported, truths):
    report = verify.verify(models[name], exported[name], truths[name])
    assert report.num_images == 3 and list(report.scores) == ["checkpoint", "predict", "export"]
    assert all(0.2 < value < 1 for value in report.scores["checkpoint"].values())
    assert report.difference("predict") < 1e-6 and report.difference("export") < verify.TOLERANCE
    table = report.table().splitlines()
    assert [line.split()[0] for line in table[1:]] == ["checkpoint", "predict", "export"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplab", "maskrcnn"])
def test_a_way_that_sees_other_pixels_is_found(name, models, exported, truths, monkeypatch):
    read = predictors.ImagePredictor.read
    monkeypatch.setattr(predictors.ImagePredictor, "read", lambda self, image: 255 - read(self, image))
    report = verify.verify(models[name], exported[name], truths[name])
    assert report.difference("predict") > 0.01 and report.difference("export") < verify.TOLERANCE


def test_a_metric_that_only_one_has_is_a_difference():
    report = verify.Report({"checkpoint": {"mask AP": None}, "predict": {"mask AP": None}, "export": {"mask AP": 0.0}}, 1)
    assert report.difference("predict") == 0 and report.difference("export") == float("inf")
    assert report.table().splitlines()[1].split() == ["checkpoint", "-", "0.000000"]


def test_records_of_another_kind_are_refused(models, exported, truths):
    with pytest.raises(ValueError, match="no files|no file|matches nothing|there"):
        verify.verify(models["deeplab"], exported["deeplab"], truths["deeplab"] + "-missing")


def test_a_tflite_file_gets_the_image_on_its_canvas(models, photos, monkeypatch):
    given = {}

    class Runner:
        def get_input_details(self):
            return {"images": {"dtype": np.uint8}}

        def __call__(self, images):
            given["images"] = images
            return {"classes": np.ones(images.shape[:3], np.uint8)}

    interpreter = types.SimpleNamespace(get_signature_runner=Runner)
    monkeypatch.setattr(tf.lite, "Interpreter", lambda path: interpreter)
    photo = photos["small"]
    found = verify._load_tflite(models["deeplab"], "exported")(png(PIL.Image.fromarray(photo)))
    height, width = photo.shape[:2]
    assert given["images"].shape == (1, 129, 161, 3) and given["images"].dtype == np.uint8
    np.testing.assert_array_equal(given["images"][0, :height, :width], photo)
    assert found.shape == (height, width) and (found == 1).all()


def test_classes_on_the_canvas_become_those_of_the_nearest_pixels():
    settings = config.DeepLabConfig()
    settings.evaluation.input_size = [4, 6]
    canvas = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    same = deeplab_exported.tflite_prediction({"classes": canvas}, (3, 5), settings)
    np.testing.assert_array_equal(same, canvas[0, :3, :5])
    # Twice as large as the canvas: placed in 4x6 pixels, each of which is four of the image.
    twice = deeplab_exported.tflite_prediction({"classes": canvas}, (8, 12), settings)
    np.testing.assert_array_equal(twice, canvas[0].repeat(2, 0).repeat(2, 1))
