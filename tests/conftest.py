"""What several tests share: a small generated data set, made once."""

import os
import pathlib

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf
from absl import flags

# Two logical CPUs stand in for two accelerators; must be set before TensorFlow looks at its devices.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository():
    return ROOT


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory):
    """A data directory with 24 + 10 generated images as records, where the shapes experiments look for them."""
    from tpuseg.convert import coco, shapes, voc

    root = tmp_path_factory.mktemp("data") / "shapes"
    shapes.make_shapes(str(root), shapes.ShapesConfig(num_train=24, num_val=10))
    for split in ("train", "val"):
        annotations = root / "annotations" / f"instances_{split}.json"
        coco.convert_coco(str(root / split), str(annotations), str(root / "instances"), num_shards=2)
        voc.convert_voc(
            str(root), split, str(root / "semantic"), class_names=shapes.CLASS_NAMES, num_shards=2, num_workers=1
        )
    return str(root.parent)


@pytest.fixture
def benchmarks_on_path(monkeypatch):
    """Modules of benchmarks can be imported; their flags, which binaries have too, do not outlive a test."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(flags.FLAGS)
    yield
    flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
