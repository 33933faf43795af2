"""Data sets of tensorflow-datasets into folders that the readers take."""

import numpy as np
import pytest
from format_folders import pixels, rectangle, same_shapes, shapes

from tpuseg.formats import detection, tfds

CAT, DOG = rectangle((1, 7), (2, 8)), rectangle((4, 8), (0, 6))
IMAGE = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Three small data sets: masks of classes, grey masks that are stored as RGB, and objects."""
    library = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tfds")
    feature = library.features
    mask = feature.Image(shape=(None, None, 1))

    class Tiny(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")
        pkg_dir_path = folder
        FEATURES, EXAMPLE = {}, {}

        def _info(self):
            return self.dataset_info_from_configs(features=feature.FeaturesDict({"image": feature.Image(), **self.FEATURES}))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(2), "validation": self._generate_examples(1)}

        def _generate_examples(self, count):
            for number in range(count):
                yield number, {"image": np.roll(IMAGE, number, 1), **self.EXAMPLE}

    class TinyMasks(Tiny):
        FEATURES = {
            "segmentation_mask": feature.LabeledImage(labels=["background", "cat"], shape=(None, None, 1)),
            "label": feature.Text(),
        }
        EXAMPLE = {"segmentation_mask": CAT[..., np.newaxis], "label": "x"}

    class TinyGrey(Tiny):
        FEATURES = {"annotation": feature.Image()}
        EXAMPLE = {"annotation": np.repeat(CAT[..., np.newaxis], 3, 2)}

    class TinyObjects(Tiny):
        FEATURES = {
            "objects": feature.Sequence(
                {"segmentation": mask, "label": feature.ClassLabel(names=["cat", "dog"]), "is_crowd": np.bool_}
            )
        }
        EXAMPLE = {
            "objects": [
                {"segmentation": one[..., np.newaxis], "label": label, "is_crowd": label == 1}
                for one, label in ((CAT, 0), (DOG, 1))
            ]
        }

    class TinyPlain(Tiny):
        FEATURES = {"caption": feature.Text()}
        EXAMPLE = {"caption": "x"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(folder))
        yield folder


def read(name, tmp_path):
    tfds.write_folder(name, str(tmp_path / "data"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    return detection.read_dataset(str(tmp_path / "data"))


def test_masks_of_classes(library, tmp_path):
    dataset = read("tiny_masks", tmp_path)
    assert (dataset.format, dataset.class_names) == ("image_masks", ["background", "cat"])
    assert [image.split for image in dataset.images] == ["train", "train", "val"]
    assert all(np.array_equal(ids, CAT) for ids in pixels(dataset).values())
    assert (tmp_path / "data/images/train/000000.png").read_bytes().startswith(b"\x89PNG")


def test_grey_masks_that_are_stored_as_rgb(library, tmp_path):
    assert all(np.array_equal(ids, CAT) for ids in pixels(read("tiny_grey", tmp_path)).values())


def test_objects(library, tmp_path):
    dataset = read("tiny_objects", tmp_path)
    assert (dataset.format, dataset.class_names) == ("coco", ["cat", "dog"]) and dataset.splits == ["train", "val"]
    found = shapes(dataset)
    assert len(found) == 3 and all(same_shapes(one, [("cat", CAT), ("ignored dog", DOG)]) for one in found.values())


def test_what_cannot_be_written(library, tmp_path):
    with pytest.raises(ValueError, match="tiny_plain has the features .*caption.*; segmentation needs `image`, and a mask"):
        tfds.write_folder("tiny_plain", str(tmp_path / "data"))
    with pytest.raises(ValueError, match="tensorflow-datasets has no data set `no_such_data_set`"):
        tfds.write_folder("no_such_data_set", str(tmp_path / "data"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="exists already; remove it, or choose another folder"):
        tfds.write_folder("tiny_masks", str(tmp_path))
