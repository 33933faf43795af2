"""The commands, from a model directory to a page of predictions."""

import json
import os
import runpy
import sys

import numpy as np
import odd_images
import PIL.Image
import pytest
from absl import flags

from tpuseg import cli
from tpuseg.inference import predictors


@pytest.fixture
def call(repository, monkeypatch, capsys):
    """Calls a binary in this process; returns exit code, standard output and standard error."""
    before = set(flags.FLAGS)

    def forget():
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
        flags.FLAGS.unparse_flags()

    def call(path, *arguments):
        forget()
        main = runpy.run_path(str(repository / path), run_name="binary")["main"]
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        with pytest.raises(SystemExit) as done:
            cli.run(main)
        return done.value.code or 0, *capsys.readouterr()

    yield call
    forget()


@pytest.fixture
def frames(photos, tmp_path):
    """A folder in which two images differ in their ending alone, and one is no image."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for name, photo in {"a.jpg": photos["large"], "a.png": photos["small"], "10.png": photos["wide"]}.items():
        PIL.Image.fromarray(photo).save(folder / name)
    (folder / "9.jpg").write_bytes(b"no image")
    return folder


def test_predictions_of_a_saved_model(call, frames, exported, models, photos, tmp_path):
    found = models["maskrcnn"](photos["small"])
    threshold = float(np.median(found.scores))
    out = tmp_path / "out"
    arguments = [f"--saved_model={exported['maskrcnn']}", f"--input={frames}", f"--output_dir={out}"]
    code, said, error = call("official/predict.py", *arguments, f"--score_threshold={threshold}", "--batch_size=2")
    assert code == 1 and "skipped" in error and "9.jpg" in error and f"look at {out}/index.html" in said
    overlays = {path.name for path in out.glob("*_overlay.png")}
    assert overlays == {"10_overlay.png", "a.jpg_overlay.png", "a.png_overlay.png"}
    rows = json.loads((out / "results.json").read_text())
    assert {row["image_id"] for row in rows} == {10, "a.jpg", "a.png"} and min(row["score"] for row in rows) >= threshold
    assert sum(row["image_id"] == "a.png" for row in rows) == (found.scores >= threshold).sum()
    text = (out / "index.html").read_text()
    assert text.count("<article") == 3 and text.index(">10.png<") < text.index(">a.jpg<") and "could not be read: " in text


def test_one_bad_image_is_one_skipped_image(call, exported, photos, encode, tmp_path):
    folder, out = tmp_path / "odd", tmp_path / "out"
    folder.mkdir()
    good = {b"b\xff.png": "b_xff", b"c" * 244 + b".png": "c" * 191 + "~", b"d.gif": "d", "e\u00fc<i>.tif".encode(): "e\u00fc<i>"}
    for name in good:
        kind = {"png": "PNG", "gif": "GIF", "tif": "TIFF"}[name[-3:].decode()]
        (folder / os.fsdecode(name)).write_bytes(encode(photos["small"], kind))
    (folder / "bomb.png").write_bytes(odd_images.bomb())
    (folder / "cut.png").write_bytes(encode(photos["small"])[:500])
    (folder / "float.tif").write_bytes(odd_images.encode(photos["small"][..., 0].astype(np.float32), "TIFF"))
    os.mkfifo(folder / "pipe.jpg")
    (folder / "notes.txt").write_text("left out")
    code, said, error = call(
        "official/predict.py", f"--saved_model={exported['deeplab']}", f"--input={folder}", f"--output_dir={out}"
    )
    assert code == 1 and "Traceback" not in error and error.count("skipped") == 4, error
    assert "4 predictions" in said and "4 skipped" in said and "1 file of" in said
    for name in ("bomb.png", "cut.png", "float.tif", "pipe.jpg"):
        assert f"skipped {folder}/{name}: " in error and error.count(f"{folder}/{name}") == 1
    written = [path.name for path in out.glob("*_overlay.png")]
    assert len(written) == 4 and all(any(name.startswith(start) for name in written) for start in good.values())
    text = (out / "index.html").read_text()
    assert text.count("<article") == 4 and "b\\xff.png" in text and text.count("could not be read: ") == 4


def test_an_image_that_does_not_fit_into_memory_is_skipped(call, exported, frames, monkeypatch, tmp_path):
    predict = predictors.ExportedPredictor.predict

    def small_ones(self, images, **windows):
        if any(image.shape[0] > 500 for image in images):
            raise MemoryError
        return predict(self, images, **windows)

    monkeypatch.setattr(predictors.ExportedPredictor, "predict", small_ones)
    arguments = [f"--saved_model={exported['deeplab']}", f"--input={frames}", f"--output_dir={tmp_path}/out"]
    code, said, error = call("official/predict.py", *arguments)
    assert code == 1 and "2 predictions" in said and "2 skipped" in said, said
    assert "a.jpg: its 530x701 pixels need more memory than there is" in error


@pytest.mark.slow
def test_a_checkpoint_becomes_a_saved_model_with_a_fixed_size(call, run_dirs, tmp_path):
    out = tmp_path / "model"
    arguments = [f"--checkpoint={run_dirs['deeplab']}/ckpt-1", f"--output_dir={out}", "--fixed_size=50,70"]
    code, said, error = call("official/export.py", *arguments)
    assert code == 0 and f"ckpt-1 is exported to {out}" in said, error
    model = predictors.ExportedPredictor(str(out))
    fixed = model._module.signatures["fixed"]
    assert fixed.structured_input_signature[1]["images"].shape == [None, 50, 70, 3]
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    np.testing.assert_array_equal(fixed(images=image[None])["classes"][0], model(image))


@pytest.mark.parametrize("name", ["deeplab", "maskrcnn"])
def test_predictions_by_windows(name, call, frames, exported, photos, tmp_path):
    out = tmp_path / "out"
    arguments = (f"--saved_model={exported[name]}", f"--input={frames}", f"--output_dir={out}", "--tile=200", "--overlap=0.3")
    code, said, error = call("official/predict.py", *arguments)
    assert code == 1 and "3 predictions" in said and "skipped" in error and "9.jpg" in error
    model = predictors.ExportedPredictor(exported[name])
    (expected,) = model.predict(str(frames / "a.jpg"), tile=200, overlap=0.3)
    if name == "deeplab":
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(out / "a.jpg_ids.png")), expected)
        assert (expected != model.predict(str(frames / "a.jpg"), tile=0)[0]).any()
    else:
        rows = [row for row in json.loads((out / "results.json").read_text()) if row["image_id"] == 10]
        wide = model.predict(str(frames / "10.png"), tile=200, overlap=0.3)[0]
        assert [row["segmentation"]["counts"].encode() for row in rows] == [runs["counts"] for runs in wide.runs()]
    page = (out / "index.html").read_text()
    assert f"{photos['large'].shape[1]}×{photos['large'].shape[0]}" in page or "701" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tile=200", "--overlap=1"], "the overlap of tiles is 1, but must be at least 0 and less than 1"),
        (["--tile=5"], "the tile size is 5, but must be at least 32 pixels"),
        (["--overlap=0.3"], "--overlap is only used for windows; add their size, for example --tile=1024"),
        (["--bands=1,2,3"], "--bands is only used for windows"),
        (["--tile=200", "--bands=red"], "--bands=red is not a list of numbers, as in --bands=4,3,2"),
        (["--tile=200", "--tile_scale=0"], "the scale of tiles is 0, but must be more than 0"),
    ],
)
def test_wrong_windows_are_one_line(arguments, message, call, frames, exported, tmp_path):
    out = tmp_path / "out"
    given = (f"--saved_model={exported['deeplab']}", f"--input={frames}", f"--output_dir={out}", *arguments)
    code, _, error = call("official/predict.py", *given)
    assert code == 1 and message in error and len(error.strip().splitlines()) == 1
    assert not out.exists()
