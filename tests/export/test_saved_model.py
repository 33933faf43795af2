"""A SavedModel, read by a process without this project, gives what evaluation and predict.py give."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import tpuseg
from tpuseg.data import records
from tpuseg.deeplab import exported as deeplab_exported
from tpuseg.evaluation import miou
from tpuseg.export import folders
from tpuseg.inference import predictors
from tpuseg.io import image_files
from tpuseg.maskrcnn import exported as maskrcnn_exported
from tpuseg.ops import masks

_SCRIPT = pathlib.Path(__file__).with_name("run_signatures.py")


@pytest.fixture(scope="module")
def files_of(photos, encode):
    """Encoded images by name; the last is one that a telephone was held upright for."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    found = {name: encode(photo) for name, photo in photos.items()}
    return {**found, "turned": encode(photos["wide"], "JPEG", exif=exif)}


@pytest.fixture(scope="module")
def outputs(exported, photos, files_of, tmp_path_factory):
    """What the signatures give, by architecture."""
    given = tmp_path_factory.mktemp("pictures") / "images.npz"
    np.savez(given, **photos, **{f"bytes/{name}": np.frombuffer(content, np.uint8) for name, content in files_of.items()})
    command = [sys.executable, str(_SCRIPT), str(given), *exported.values()]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: np.load(path + ".npz") for name, path in exported.items()}


@pytest.fixture(scope="module")
def expected(models, photos, files_of):
    """What a run predicts, by architecture and image."""
    found = {}
    for architecture, model in models.items():
        found[architecture] = {name: model(photo) for name, photo in photos.items()}
        # Decoded by TensorFlow, as evaluation does: JPEG decoders differ by a shade.
        sideways = records.decode_image(tf.constant(files_of["turned"])).numpy()
        found[architecture]["turned"] = model(np.rot90(sideways, -1).copy())
        height, width = (int(side) for side in predictors.input_spec(model.config)["image"].shape[1:3])
        found[architecture]["fixed"] = model(photos["large"][:height, :width])
    return found


def same_classes(given, wanted):
    assert given.shape == wanted.shape
    assert len(np.unique(wanted)) > 1  # Or any two networks would agree.
    return (given == wanted).mean() >= 0.999


def same_objects(given, prefix, row, wanted):
    count = int(given[f"{prefix}/num_detections"][row])
    assert count == len(wanted.boxes) > 3
    boxes = given[f"{prefix}/boxes"][row]
    np.testing.assert_allclose(boxes[:count], wanted.boxes, atol=0.5)
    np.testing.assert_allclose(given[f"{prefix}/scores"][row][:count], wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(given[f"{prefix}/classes"][row][:count], wanted.classes)
    np.testing.assert_allclose(given[f"{prefix}/masks"][row][:count], wanted.masks, atol=1e-3)
    assert (given[f"{prefix}/classes"][row][count:] == -1).all() and (given[f"{prefix}/scores"][row][count:] == 0).all()
    if f"{prefix}/pasted" in given:
        height, width = wanted.size
        pasted = given[f"{prefix}/pasted"][row]
        assert set(np.unique(pasted)) == {0, 1} and not pasted[:, height:].any() and not pasted[:, :, width:].any()
        shown = wanted.pixels()
        assert shown.any() and (pasted[:count, :height, :width] == shown).mean() >= 0.999


@pytest.mark.parametrize("name", ["images/small", "images/wide", "images/large", "bytes/large", "bytes/turned", "fixed"])
def test_class_maps(outputs, expected, name):
    wanted = expected["deeplab"][name.rpartition("/")[2]]
    assert same_classes(outputs["deeplab"][f"{name}/classes"][0], wanted)


@pytest.mark.parametrize("name", ["images/small", "images/wide", "images/large", "bytes/large", "bytes/turned", "fixed"])
def test_objects(outputs, expected, name):
    same_objects(outputs["maskrcnn"], name, 0, expected["maskrcnn"][name.rpartition("/")[2]])


def test_a_batch_of_files_of_several_sizes(outputs, expected, photos):
    given, wanted = outputs["deeplab"], expected["deeplab"]
    names = [*photos, "turned"]
    assert given["batch/sizes"].tolist() == [list(wanted[name].shape) for name in names]
    for row, name in enumerate(names):
        height, width = wanted[name].shape
        classes = given["batch/classes"][row]
        assert same_classes(classes[:height, :width], wanted[name])
        assert (classes[height:] == 255).all() and (classes[:, width:] == 255).all()
        same_objects(outputs["maskrcnn"], "batch", row, expected["maskrcnn"][name])
        same_objects(outputs["maskrcnn"], "compact", row, expected["maskrcnn"][name])
    assert "compact/pasted" not in outputs["maskrcnn"] and "batch/pasted" in outputs["maskrcnn"]


def test_the_names_of_the_classes_are_inside(outputs, models):
    for architecture, predictor in models.items():
        inside = [name.decode() for name in outputs[architecture]["class_names"]]
        assert inside == predictor.class_names and len(inside) >= 5


@pytest.fixture
def large(photos, tmp_path):
    """An image's file."""
    path = tmp_path / "large.png"
    PIL.Image.fromarray(photos["large"]).save(path)
    return path


@pytest.mark.slow
def test_load_takes_a_saved_model_and_a_checkpoint(run_dirs, exported, expected, large):
    for place in (exported["deeplab"], os.path.join(run_dirs["deeplab"], "ckpt-1")):
        model = tpuseg.load(place)
        assert model.class_names == [str(number) for number in range(6)]  # A run without records has no names.
        assert same_classes(model(str(large)), expected["deeplab"]["large"])


@pytest.mark.parametrize("is_run", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_load_with_a_score_threshold(is_run, run_dirs, exported, expected, large):
    wanted = expected["maskrcnn"]["large"]
    median = float(np.median(wanted.scores))
    place = (run_dirs if is_run else exported)["maskrcnn"]
    found = tpuseg.load(place, score_threshold=median)(large.read_bytes())
    assert len(found.boxes) == (wanted.scores >= median).sum() < len(wanted.boxes)
    np.testing.assert_allclose(found.boxes, wanted.above(median).boxes, atol=1e-2)
    assert (found.pixels() == wanted.above(median).pixels()).mean() > 0.999


def test_what_cannot_be_loaded_is_said(run_dirs, exported, tmp_path):
    with pytest.raises(ValueError, match="there is no model at .*/nothing"):
        tpuseg.load(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="is not a SavedModel, and neither .* has the config.yaml of a run"):
        tpuseg.load(str(tmp_path))
    with pytest.raises(ValueError, match="a score threshold is not supported by"):
        tpuseg.load(run_dirs["deeplab"], score_threshold=0.5)
    with pytest.raises(ValueError, match="0.05, but the exported network drops everything below 0.1"):
        tpuseg.load(exported["maskrcnn"], score_threshold=0.05)
    with pytest.raises(ValueError, match="is 1.5, but must be between 0 and 1"):
        tpuseg.load(run_dirs["maskrcnn"], score_threshold=1.5)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="a SavedModel without assets.extra/config.yaml"):
        tpuseg.load(str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"an array of float32 \(4, 5\), but must be uint8"):
        tpuseg.load(run_dirs["deeplab"]).read(np.zeros((4, 5), np.float32))


_SIZES = [((129, 161), (60, 90)), ((128, 160), (700, 333)), ((65, 97), (65, 300)), ((64, 64), (1, 9))]


@pytest.mark.parametrize(("canvas", "size"), _SIZES)
def test_class_map_in_a_graph_is_the_hosts(canvas, size):
    logits = np.random.default_rng(0).normal(size=((canvas[0] + 3) // 4, (canvas[1] + 3) // 4, 5)).astype(np.float32)
    in_graph = deeplab_exported.class_map(tf.constant(logits), canvas, tf.constant(size)).numpy()
    assert (in_graph == miou.class_map(logits, canvas, size)).mean() > 0.9999


def test_class_map_of_blocks(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(33, 41, 5)).astype(np.float32)
    whole = deeplab_exported.class_map(tf.constant(logits), (129, 161), tf.constant((101, 77))).numpy()
    monkeypatch.setattr(deeplab_exported, "_BLOCK", 7 * 77 * 5)
    blocks = deeplab_exported.class_map(tf.constant(logits), (129, 161), tf.constant((101, 77))).numpy()
    np.testing.assert_array_equal(blocks, whole)


def test_pasting_in_a_graph_is_the_hosts():
    random = np.random.default_rng(1)
    corners = np.sort(random.uniform(0, 1, (2, 3, 2, 2)), axis=2) * (90, 130)
    boxes = corners.reshape(2, 3, 4).astype(np.float32)
    boxes[0, 1] = (10.5, 20.5, 10.9, 60.0)  # Has no pixel's centre.
    boxes[1, 2] = 0
    shown = random.uniform(0, 1, (2, 3, 28, 28)).astype(np.float32)
    drawn = maskrcnn_exported.paste(tf.constant(shown), tf.constant(boxes), tf.constant((90, 130))).numpy()
    assert drawn.shape == (2, 3, 90, 130) and drawn.dtype == np.uint8 and not drawn[0, 1].any() and not drawn[1, 2].any()
    for row in range(2):
        host = [masks.decode(runs) for runs in masks.paste(shown[row], boxes[row], (90, 130)).runs]
        assert np.sum(host) > 100 and (drawn[row] == host).mean() > 0.9999


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    place = tmp_path / "model"

    def is_ours(folder):
        return os.path.exists(os.path.join(folder, "mark"))

    def write(text, fails=False):
        with folders.replace_folder(str(place), is_ours) as folder:
            pathlib.Path(folder, "mark").write_text(text)
            if fails:
                raise OSError("the disk is full")

    write("first")
    write("second")
    assert (place / "mark").read_text() == "second"
    with pytest.raises(OSError, match="the disk is full"):
        write("third", fails=True)
    assert (place / "mark").read_text() == "second" and os.listdir(tmp_path) == ["model"]
    (place / "mark").rename(place / "holiday.jpg")
    with pytest.raises(ValueError, match="exists and is not an exported model"):
        write("fourth")
    assert os.listdir(place) == ["holiday.jpg"]


@pytest.mark.parametrize("number", range(1, 9))
def test_images_are_turned_upright(number, encode, tmp_path):
    from tpuseg.export import orientation

    exif = PIL.Image.Exif()
    # Entries around it, one of which comes first in the directory.
    exif[0x010F], exif[0x0112], exif[0x9003] = "maker", number, "2020:01:01 00:00:00"
    image = np.zeros((16, 32, 3), np.uint8)
    image[:8, :16], image[8:, 16:] = 255, 128
    content = encode(image, "JPEG", exif=exif, quality=95)
    assert int(orientation.orientation(tf.constant(content))) == number
    turned = orientation.upright(tf.io.decode_jpeg(content), tf.constant(content)).numpy()
    wanted = image_files.read_rgb(content)
    assert turned.shape == wanted.shape and np.abs(turned.astype(int) - wanted).max() < 4


def test_orientation_in_the_other_byte_order_and_where_there_is_none(encode):
    from tpuseg.export import orientation

    plain = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    # One entry, 0x0112, of type short (3), once, with the value 8; Motorola's order, after a segment that says nothing.
    tiff = b"MM\x00\x2a" + b"\x00\x00\x00\x08" + b"\x00\x01" + b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x08\x00\x00" + bytes(4)
    segments = b"\xff\xe2\x00\x05abc" + b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + tiff
    assert int(orientation.orientation(tf.constant(plain[:2] + segments + plain[2:]))) == 8
    for content in (plain, plain[:30], b"", b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00"):
        assert int(orientation.orientation(tf.constant(content))) == 1


def test_an_image_without_objects_has_no_masks():
    from tpuseg.maskrcnn import exported

    specs = [tf.TensorSpec([None, None, 4, 4]), tf.TensorSpec([None, None, 4]), tf.TensorSpec([2], tf.int32)]
    paste = tf.function(exported.paste, input_signature=specs)
    assert paste(tf.zeros([2, 0, 4, 4]), tf.zeros([2, 0, 4]), tf.constant([5, 7])).shape == (2, 0, 5, 7)
    one = paste(tf.ones([1, 1, 4, 4]), tf.constant([[[1.0, 2.0, 4.0, 6.0]]]), tf.constant([5, 7])).numpy()[0, 0]
    assert one.sum() == 3 * 4 and one[1:4, 2:6].all()
