"""Another library's weights become a model directory, and its record keeps them from being used wrongly."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tpuseg import weights
from tpuseg.configs import experiments
from tpuseg.deeplab import model
from tpuseg.inference import predictors
from tpuseg.io import checkpoints, files
from tpuseg.training import import_weights, runs
from tpuseg.weights import own


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """MobileNetV2 as wide as the experiment's."""
    network = tf_keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3), alpha=0.5)
    path = str(tmp_path_factory.mktemp("keras") / "mobilenet.h5")
    network.save_weights(path)
    return path


def _experiment(override=""):
    return experiments.load("deeplab_shapes", params_override="task.model.input_size=[65,65]" + override)


def _import(source, output, override="", class_names=(), map_classes=False, data_dir=""):
    return import_weights.run(_experiment(override), "keras", source, str(output), data_dir, list(class_names), map_classes)


@pytest.fixture(scope="module")
def imported(keras_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("imported")
    report = _import(keras_file, output, class_names=["a", "b", "c", "d", "e", "f"])
    assert {name.partition("/")[0] for name in report.restored} == {"backbone"}
    return output


def test_it_is_a_model_directory(imported, shapes_dir, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(imported, folder)
    predictor = predictors.Predictor(str(folder))
    assert predictor.task.classes.names == ["a", "b", "c", "d", "e", "f"]
    assert predictor.predict([np.zeros([40, 50, 3], np.uint8)])[0].shape == (40, 50)
    # Evaluation takes it as it takes a run's.
    runs.run(_experiment(), "eval", str(folder), shapes_dir)
    assert files.read_json(str(folder / "metrics.json"))["step"] == 0


def test_init_checkpoint_takes_it_like_the_file(imported, keras_file):
    settings = _experiment().config.task.model
    ours, direct = model.build(settings), model.build(settings)
    report = weights.load_initial(ours, str(imported), settings)
    assert report.skipped == [] and report.what == "Keras Applications' MobileNetV2"
    weights.load_initial(direct, keras_file, settings)
    expected = own.variables_by_name(direct)
    for name, variable in own.variables_by_name(ours).items():
        if name.startswith("backbone/"):
            np.testing.assert_array_equal(variable, expected[name])


def test_other_pixels_are_refused_when_it_is_read(imported):
    settings = _experiment(",task.model.pixel_scaling=imagenet").config.task.model
    said = r"is Keras Applications' MobileNetV2, whose weights need task.model.pixel_scaling=minus_one_to_one \(it is imagenet\)"
    with pytest.raises(ValueError, match=said):
        weights.load_initial(tf_keras.Model(), str(imported), settings)


def test_a_runs_checkpoint_says_it_by_its_configuration(imported, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(imported, folder)
    # As a run writes its checkpoints: without the record inside.
    small = tf.train.Checkpoint(model=tf_keras.Model())
    prefix = small.write(str(folder / "ckpt-9"))
    what, required = own.read_record(prefix)
    assert what == f"a checkpoint of the run in {folder}"
    of_pixels = {"num_channels": 3, "pixel_mean": [], "pixel_stddev": [], "pixel_scaling": "minus_one_to_one"}
    assert required == {**of_pixels, "backbone.type": "mobilenet_v2", "activation": "relu"}
    (folder / "config.yaml").write_text("task: 3")
    with pytest.raises(ValueError, match="config.yaml is not the configuration of a run"):
        own.read_record(prefix)
    (folder / "config.yaml").unlink()
    assert own.read_record(prefix) == ("", {})


def test_a_folder_of_a_run_is_not_written_into(keras_file, tmp_path):
    variable = tf.train.Checkpoint(step=tf.Variable(1))
    tf.train.CheckpointManager(variable, str(tmp_path), 1).save(checkpoint_number=300)
    with pytest.raises(ValueError, match=r"is the model directory of a run \(ckpt-300\); choose another one"):
        _import(keras_file, tmp_path)
    assert checkpoints.list_checkpoints(str(tmp_path)) == [str(tmp_path / "ckpt-300")]


def test_classes_need_names(keras_file, tmp_path):
    with pytest.raises(ValueError, match="--class_names has 2 names, but task.model.num_classes is 6"):
        _import(keras_file, tmp_path, class_names=["a", "b"])
    with pytest.raises(ValueError, match="--map_classes: the names of the experiment's classes are not known; give --class_names"):
        _import(keras_file, tmp_path, map_classes=True, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("torchvision", "mobilenet.h5", r"is of an unknown kind; give a file of torchvision \(.pth, .pt, .safetensors\)"),
        ("model_garden", "mobilenet.h5", "is of an unknown kind; give a checkpoint"),
        ("keras", "nothing.h5", "there is no checkpoint or file"),
    ],
)
def test_a_file_of_another_kind(kind, source, said, keras_file, tmp_path):
    path = keras_file.replace("mobilenet.h5", source)
    with pytest.raises(ValueError, match=said):
        import_weights.run(_experiment(), kind, path, str(tmp_path), "", [], False)


def test_a_checkpoint_of_this_project_is_no_other_librarys(imported, tmp_path):
    with pytest.raises(ValueError, match="is of the kind `tpuseg`, not `model_garden`"):
        import_weights.run(_experiment(), "model_garden", str(imported), str(tmp_path), "", [], False)
