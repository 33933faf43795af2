"""Labels of one image into what records hold: objects with the checks of the converters, and objects drawn as pixels."""

import dataclasses
import io
import os
import pickle
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from tpuseg.convert import objects
from tpuseg.convert.objects import Annotation, Finding
from tpuseg.data.examples import Category
from tpuseg.formats import drawn, labels
from tpuseg.formats.dataset import IGNORED, Dataset, LabelledFile, LabelledObjects, ObjectSource, PixelClasses, PixelSource

CATEGORIES = (Category(3, "car"), Category(17, "cat"))
# Columns 2 and 3, rows 1 to 3; columns 3 to 5, rows 2 and 3.
CAR, CAT = [2, 1, 4, 1, 4, 4, 2, 4], [3, 2, 6, 2, 6, 4, 3, 4]


def annotation(index, polygon, box=None, is_crowd=False):
    segmentation = [polygon] if polygon else None
    return Annotation(f"shape {index}", CATEGORIES[index], index, is_crowd, box, None, segmentation)


@pytest.fixture
def path(tmp_path):
    PIL.Image.new("RGB", (8, 5), (9, 9, 9)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def dataset(path, annotations, **more):
    image = LabelledFile(path, "a.png", "7", LabelledObjects(annotations, [Finding("annotation_twice", "here")]), **more)
    return Dataset("toy", "instances", "here", CATEGORIES, (image,))


@dataclasses.dataclass(frozen=True)
class FromFile(ObjectSource):
    path: str

    def read(self):
        return LabelledObjects([annotation(1, CAT)])


@dataclasses.dataclass(frozen=True)
class Constant(PixelSource):
    ids: tuple

    def read(self, size):
        return PixelClasses(np.array(self.ids, np.int16))


def test_objects_go_through_the_converters_checks(path):
    image = dataset(path, [annotation(0, CAR), annotation(1, None, box=(0.0, 0.0, 2.0, 2.0)), annotation(1, [1, 2])]).images[0]
    converted = labels.convert_objects(image, objects.Options())
    assert [(made.category.name, made.is_crowd) for made in converted.example.instances] == [("car", False), ("cat", True)]
    assert converted.example.source_id == "7" and converted.example.filename == "a.png"
    found = [finding.kind for finding in converted.findings]
    assert found[0] == "annotation_twice" and found.count("no_mask") == 2 and "outside" in found
    assert labels.find_classes(image) == {0, 1}


def test_a_source_is_read_where_it_is_needed(path):
    image = dataclasses.replace(dataset(path, []).images[0], labels=pickle.loads(pickle.dumps(FromFile(path))))
    assert [made.class_index for made in labels.convert_objects(image, objects.Options()).example.instances] == [1]
    assert labels.find_classes(image) == {1}


def test_crowds_are_not_among_the_classes(path):
    image = dataset(path, [annotation(0, CAR, is_crowd=True), annotation(1, CAT)]).images[0]
    assert labels.find_classes(image) == {1}


def test_the_size_of_the_labels_is_that_of_the_data_set_or_of_their_file(path):
    def convert(size, of_file):
        image = LabelledFile(path, "a.png", "7", LabelledObjects([annotation(0, CAR)], (), of_file), size=size)
        return [finding.kind for finding in labels.convert_objects(image, objects.Options()).findings]

    assert (
        convert((5, 8), None)
        == convert(None, (5, 8))
        == convert(None, None)
        == convert((5, 8), (9, 9))
        == ["box_missing", "area_missing"]
    )
    assert convert((9, 9), (5, 8)) == convert(None, (9, 9)) == ["image_size_differs"]


def test_drawn_objects(path):
    pixels = drawn.as_pixels(dataset(path, [annotation(0, CAR), annotation(1, CAT)], size=(5, 8)), by_size=False)
    assert pixels.kind == "semantic" and pixels.class_names == ["background", "car", "cat"]
    converted = labels.convert_pixels(pixels.images[0])
    expected = np.zeros((5, 8), np.uint8)
    expected[1:4, 2:4] = 1
    expected[2:4, 3:6] = 2
    assert np.array_equal(read_png(converted.labelled.labels), expected)
    assert converted.labelled.counts[:3].tolist() == [30, 4, 6] and [one.kind for one in converted.findings] == ["annotation_twice"]
    assert labels.find_classes(pixels.images[0]) == {0, 1, 2}


def test_small_objects_are_above_large_ones_if_the_order_means_nothing(path):
    inner = [3, 2, 4, 2, 4, 3, 3, 3]
    rows = [annotation(1, inner), annotation(0, [2, 1, 7, 1, 7, 5, 2, 5])]
    pixels = drawn.as_pixels(dataset(path, rows, size=(5, 8)), by_size=True)
    assert pixels.images[0].labels.read((5, 8)).ids[2].tolist() == [0, 0, 1, 2, 1, 1, 1, 0]
    pixels = drawn.as_pixels(dataset(path, rows, size=(5, 8)), by_size=False)
    assert pixels.images[0].labels.read((5, 8)).ids[2].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]


def test_what_has_no_mask_is_ignored_below_the_others(path):
    rows = [annotation(0, CAR), annotation(1, None, box=(0.0, 0.0, 3.0, 2.0))]
    pixels = drawn.as_pixels(dataset(path, rows, size=(5, 8)), by_size=False).images[0]
    read = pixels.labels.read((5, 8))
    assert read.ids[1].tolist() == [IGNORED, IGNORED, 1, 1, 0, 0, 0, 0]
    assert [(one.kind, one.where) for one in read.findings][1] == ("no_mask", "image a.png, shape 1: there is no segmentation")
    assert read_png(labels.convert_pixels(pixels).labelled.labels)[1].tolist() == [255, 255, 1, 1, 0, 0, 0, 0]
    assert labels.find_classes(pixels) == {0, 1}


def test_a_category_called_background_is_the_background(path):
    categories = (Category(1, "car"), Category(2, "Background"))
    pixels = drawn.as_pixels(dataclasses.replace(dataset(path, [annotation(0, CAR)]), categories=categories), by_size=False)
    assert pixels.class_names == ["background", "car"] and pixels.images[0].labels.class_ids == (1, 0)


def test_a_mask_of_another_size_names_image_and_mask(path):
    image = LabelledFile(path, "a.png", "7", Constant(((0, 1), (1, 0))))
    with pytest.raises(ValueError, match=r"the mask of a.png is 2x2 pixels, but the image .*a.png is 8x5"):
        labels.convert_pixels(image)


def test_more_classes_than_records_hold(path):
    image = LabelledFile(path, "a.png", "7", Constant(((0, 255),)))
    with pytest.raises(
        ValueError, match="a.png has the class 255, but records can contain 255 classes; choose some with --classes"
    ):
        labels.convert_pixels(dataclasses.replace(image, path=path_of(path, (2, 1))))


def path_of(path, size):
    PIL.Image.new("RGB", size).save(path)
    return path


def test_without_an_annotated_size_objects_are_drawn_on_the_upright_image(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (8, 5)).save(tmp_path / "turned.jpg", exif=exif)
    pixels = drawn.as_pixels(dataset(str(tmp_path / "turned.jpg"), [annotation(0, CAR)]), by_size=False).images[0]
    converted = labels.convert_pixels(pixels)
    assert read_png(converted.labelled.labels).shape == (8, 5) == (converted.labelled.image.height, converted.labelled.image.width)


def read_png(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def test_worker_processes_start_without_tensorflow(repository):
    modules = "labels, drawn, classes, mask_files, segment_files"
    code = f"import sys; from tpuseg.formats import {modules}; print('tensorflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(repository / "official")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
