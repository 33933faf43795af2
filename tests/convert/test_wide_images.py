"""Images of more than 8 bits: what a conversion says of them, and that its `--pixel_range` is the run's."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tpuseg import registry
from tpuseg.configs import experiments
from tpuseg.convert import coco, voc, wide_images
from tpuseg.data import records
from tpuseg.io import image_files

# 12 bits: the values of one row, and what they become with and without a range.
TWELVE_BITS = np.array([[0, 1000, 2048, 4095]] * 4, np.uint16)


@pytest.fixture
def folder(tmp_path):
    """A VOC folder of two images of 12 bits in 16-bit files, and a COCO file of the same images."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a", "b"):
        PIL.Image.fromarray(TWELVE_BITS).save(tmp_path / f"JPEGImages/{name}.png")
        PIL.Image.fromarray(np.array([[0, 0, 1, 1]] * 4, np.uint8)).save(tmp_path / f"SegmentationClass/{name}.png")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    image = {"id": 1, "file_name": "a.png", "width": 4, "height": 4}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]], "iscrowd": 0}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    return tmp_path


def convert(folder, kind, **options):
    if kind == "instances":
        summary = coco.convert_coco(
            str(folder / "JPEGImages"), str(folder / "train.json"), str(folder / "out"), num_shards=1, **options
        )
        return summary, coco.describe(summary)
    summary = voc.convert_voc(str(folder), "train", str(folder / "out"), class_names=["no", "yes"], num_shards=1, **options)
    return summary, voc.describe(summary)


def first_row(folder):
    (record,) = tf.data.TFRecordDataset(str(folder / "out/train-00000-of-00001.tfrecord")).take(1)
    image = tf.train.Example.FromString(record.numpy()).features.feature[records.IMAGE].bytes_list.value[0]
    return records.decode_image(tf.constant(image)).numpy()[0, :, 0].tolist()


@pytest.mark.parametrize("kind", ["semantic", "instances"])
def test_images_that_use_few_of_their_bits_are_a_warning_with_the_flag(folder, kind):
    summary, said = convert(folder, kind)
    assert summary["wide_images"]["largest"] == 4095 and "pixel_range" not in summary
    assert "only the values 0 to 4095 of 65535" in said and "--pixel_range=0,4095" in said
    assert first_row(folder) == [0, 3, 8, 15]


@pytest.mark.parametrize("kind", ["semantic", "instances"])
def test_the_range_is_applied_and_kept_in_the_summary(folder, kind):
    summary, said = convert(folder, kind, pixel_range=(0.0, 4095.0))
    assert summary["pixel_range"] == [0, 4095]
    assert "0 becomes black and 4095 white; 0.0% of the values are outside" in said and "warning" not in said
    assert first_row(folder) == [0, 62, 128, 255]


def test_exports_read_files_with_the_range(folder):
    data = (folder / "JPEGImages/a.png").read_bytes()
    read = tf.function(lambda encoded: records.decode_image_in_range(encoded, [0.0, 4095.0]))
    np.testing.assert_array_equal(read(tf.constant(data)), image_files.read_rgb(data, pixel_range=(0, 4095)))
    narrow = io.BytesIO()
    PIL.Image.fromarray(np.full((4, 4, 3), 77, np.uint8)).save(narrow, "PNG")
    np.testing.assert_array_equal(read(tf.constant(narrow.getvalue())), np.full((4, 4, 3), 77))
    np.testing.assert_array_equal(records.decode_image_in_range(tf.constant(data), [])[0, :, 0], [0, 3, 8, 15])


def test_images_of_8_bits_are_not_mentioned():
    found = wide_images.WideImages(())
    found.add(None)
    assert found.summary() == {} and wide_images.describe({}) == []


def test_images_that_use_all_their_bits_are_no_warning():
    found = wide_images.WideImages(())
    found.add(image_files.WideValues(0.0, 60000.0, 16, "16-bit", 0.0))
    (line,) = wide_images.describe(found.summary())
    assert "0 becomes black and 65535 white" in line and "warning" not in line


def task_of(folder, override=""):
    text = (
        "task.model.num_classes=2,task.train_data.input_path=out/train-*.tfrecord,task.validation_data.input_path=out/val-*.tfrecord"
    )
    settings = experiments.load("deeplab_custom", params_override=text + override).config
    return registry.architectures.get("deeplab").task_class(settings.task, data_dir=str(folder))


def test_a_run_takes_the_range_of_its_records_and_refuses_two(folder):
    convert(folder, "semantic", pixel_range=(0.0, 4095.0))
    (folder / "ImageSets/Segmentation/val.txt").write_text("b\n")
    options = {"class_names": ["no", "yes"], "num_shards": 1}
    voc.convert_voc(str(folder), "val", str(folder / "out"), pixel_range=(0.0, 4095.0), **options)
    task = task_of(folder)
    task.fit_to_data(train=True)
    assert list(task.task_config.pixel_range) == [0, 4095]
    given = task_of(folder, ",task.pixel_range=[0,1023]")
    given.fit_to_data(train=True)
    assert list(given.task_config.pixel_range) == [0, 1023]
    voc.convert_voc(str(folder), "val", str(folder / "out"), **options)
    with pytest.raises(ValueError, match=r"different values of --pixel_range: 0,4095 in .*train.json and none in .*val.json"):
        task_of(folder).fit_to_data(train=True)
