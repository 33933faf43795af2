"""A choice among the classes: order, subset, other names, several as one."""

import dataclasses
import pickle

import numpy as np
import pytest

from tpuseg.convert.objects import Annotation
from tpuseg.data.examples import Category
from tpuseg.formats import classes, labels
from tpuseg.formats.classes import Options
from tpuseg.formats.dataset import IGNORED, Dataset, LabelledFile, LabelledObjects, ObjectSource, PixelClasses, PixelSource

CATEGORIES = (Category(3, "car"), Category(5, "cat"), Category(9, "truck"))


def annotation(index):
    return Annotation(f"shape {index}", CATEGORIES[index], index, False, None, None, None)


@dataclasses.dataclass(frozen=True)
class All(ObjectSource):
    def read(self):
        return LabelledObjects([annotation(index) for index in (0, 1, 2)], (), (8, 12))


@dataclasses.dataclass(frozen=True)
class Pixels(PixelSource):
    def read(self, size):
        return PixelClasses(np.array([[0, 1, 2, IGNORED]], np.int16))


def objects(source=None):
    given = LabelledObjects([annotation(0), annotation(1), annotation(2), annotation(2)])
    image = LabelledFile("/a.jpg", "a.jpg", "1", source or given)
    return Dataset("toy", "instances", "here", CATEGORIES, (image,), num_annotations=4)


def pixels(*names):
    return Dataset(
        "toy", "semantic", "here", tuple(Category(*pair) for pair in enumerate(names)), (LabelledFile("a", "a", "a", Pixels()),)
    )


def found(dataset):
    return [(one.category.id, one.category.name, one.class_index) for one in labels.read_objects(dataset.images[0]).annotations]


def ids(dataset):
    return dataset.images[0].labels.read((1, 4)).ids.tolist()[0]


def test_nothing_to_do():
    given = objects()
    assert classes.choose(given, Options()) is given


def test_a_subset_in_the_order_of_the_ids_keeps_them():
    chosen = classes.choose(objects(), Options(classes=("car", "truck")))
    assert chosen.categories == (Category(3, "car"), Category(9, "truck"))
    assert found(chosen) == [(3, "car", 0), (9, "truck", 1), (9, "truck", 1)] and chosen.num_annotations == 3
    assert chosen.notes == ("left out with --classes: cat (1 annotations)",)


def test_another_order_is_numbered_anew():
    chosen = classes.choose(objects(), Options(classes=("truck", "car", "cat")))
    assert found(chosen) == [(2, "car", 1), (3, "cat", 2), (1, "truck", 0), (1, "truck", 0)] and not chosen.notes


def test_other_names_and_several_as_one():
    options = classes.parse_options([], ["cat=animal"], ["vehicle=car, truck"])
    chosen = classes.choose(objects(), options)
    assert chosen.categories == (Category(3, "vehicle"), Category(5, "animal"))
    assert found(chosen) == [(3, "vehicle", 0), (5, "animal", 1), (3, "vehicle", 0), (3, "vehicle", 0)]
    chosen = classes.choose(objects(), dataclasses.replace(options, classes=("animal",)))
    assert found(chosen) == [(5, "animal", 0)] and chosen.notes == ("left out with --classes: vehicle (3 annotations)",)


def test_sources_choose_when_they_are_read():
    chosen = classes.choose(objects(All()), Options(classes=("truck", "car")))
    image = pickle.loads(pickle.dumps(chosen.images[0]))
    read = labels.read_objects(image)
    assert [(one.category.name, one.class_index) for one in read.annotations] == [("car", 1), ("truck", 0)] and read.size == (8, 12)
    assert labels.find_classes(image) == {0, 1} and chosen.notes == ("left out with --classes: cat",)


def test_other_pixels_become_background():
    chosen = classes.choose(pixels("background", "car", "cat"), Options(classes=("cat",)))
    assert chosen.class_names == ["background", "cat"] and ids(chosen) == [0, 0, 1, IGNORED]
    assert chosen.notes == ("pixels of other classes (car) are background",)


def test_a_background_is_added_where_there_is_none():
    chosen = classes.choose(pixels("road", "car", "cat"), Options(classes=("cat", "road")))
    assert chosen.class_names == ["background", "cat", "road"] and ids(chosen) == [2, 0, 1, IGNORED]
    chosen = classes.choose(pixels("road", "car", "cat"), Options(classes=("cat", "road", "car")))
    assert chosen.class_names == ["cat", "road", "car"] and ids(chosen) == [1, 2, 0, IGNORED] and not chosen.notes


def test_the_background_has_the_place_that_it_is_given():
    chosen = classes.choose(pixels("background", "car", "cat"), Options(classes=("cat", "background")))
    assert chosen.class_names == ["cat", "background"] and ids(chosen) == [1, 1, 0, IGNORED]


def test_other_pixels_can_be_ignored():
    chosen = classes.choose(pixels("road", "car", "cat"), Options(classes=("cat", "road"), others="ignore"))
    assert chosen.class_names == ["cat", "road"] and ids(chosen) == [1, IGNORED, 0, IGNORED]
    assert chosen.notes == ("pixels of other classes (car) are ignored",)


def test_classes_of_pixels_as_one():
    chosen = classes.choose(pixels("background", "car", "truck"), Options(renamed=(("truck", "car"),)))
    assert chosen.class_names == ["background", "car"] and ids(chosen) == [0, 1, 1, IGNORED] and not chosen.notes
    image = pickle.loads(pickle.dumps(chosen.images[0]))
    assert labels.find_classes(dataclasses.replace(image, size=(1, 4))) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            Options(classes=("cars",)),
            r"--classes: `cars` is not a class of the data set, which has car, cat, truck; did you mean `car`\?",
        ),
        (Options(classes=("background",)), "`background` is not a class"),
        (
            Options(renamed=(("dog", "cat"),)),
            "--rename and --merge: `dog` is not a class of the data set, which has car, cat, truck",
        ),
    ],
)
def test_unknown_names(options, message):
    with pytest.raises(ValueError, match=message):
        classes.choose(objects(), options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", "a"], [], []), "--classes contains `a` twice"),
        (([], ["a"], []), "--rename=a is not OLD=NEW"),
        (([], ["=b"], []), "--rename==b is not OLD=NEW"),
        (([], ["a="], []), "--rename=a= is not OLD=NEW"),
        (([], [], ["a"]), "--merge=a is not NEW=OLD,OLD"),
        (([], [], ["a=b,"]), "--merge=a=b, is not"),
        (([], [], ["=b"]), "--merge==b is not"),
        (([], ["a=b"], ["c=a"]), "--rename and --merge contain `a` twice"),
        (([], [], [], "black"), "--others=black must be background or ignore"),
    ],
)
def test_damaged_flags(arguments, message):
    with pytest.raises(ValueError, match=message):
        classes.parse_options(*arguments)
