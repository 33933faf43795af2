"""Whole runs on images of other numbers of channels: converted, trained, evaluated, predicted and exported by the commands."""

import json
import pathlib
import subprocess
import sys

import channel_images
import numpy as np
import pytest
import tensorflow as tf

NUM_IMAGES, NUM_VALIDATION = 12, 4
SMALL = {
    "deeplab": "task.model.input_size=[33,33],task.evaluation.input_size=[33,33],task.model.num_classes=2,"
    "task.model.backbone.mobilenet_v2.width_multiplier=0.35,task.model.aspp.num_filters=8,task.model.decoder.num_filters=8,"
    "task.losses.class_weights=[1,1]",
    "maskrcnn": "task.model.input_size=[64,64],task.model.num_classes=1,task.model.backbone.mobilenet_v2.width_multiplier=0.35,"
    "task.model.fpn.num_filters=16,task.model.box_head.dense_units=16,task.model.mask_head.num_filters=16,"
    "task.model.rpn.num_proposals_test=20,task.model.detection.score_threshold=0.0,task.train_data.rotate_degrees=10",
}
SHARED = (
    "task.train_data.color_jitter=0.3,task.train_data.generate=,task.validation_data.generate=,"
    "task.train_data.input_path=records/train-*.tfrecord,task.validation_data.input_path=records/val-*.tfrecord,"
    "task.train_data.global_batch_size=4,task.validation_data.global_batch_size=2,trainer.train_steps=3,"
    "trainer.validation_interval=3,trainer.checkpoint_interval=3,trainer.summary_interval=1,"
    "trainer.optimizer_config.warmup.linear.warmup_steps=1"
)


def run(repository, *arguments):
    """Runs a command; returns what it printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=repository, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "num_channels"), [("deeplab", 1), ("deeplab", 5), ("maskrcnn", 4), ("maskrcnn", 5)])
def test_a_run_from_files_to_an_exported_model(architecture, num_channels, repository, tmp_path):
    names = [f"image{number}" for number in range(NUM_IMAGES)]
    values = {name: channel_images.values(num_channels, seed=number) for number, name in enumerate(names)}
    splits = {"train": names[NUM_VALIDATION:], "val": names[:NUM_VALIDATION]}
    channel_images.write_data_set(tmp_path, values, splits)
    for split in splits:
        options = ["--instances"] if architecture == "maskrcnn" else []
        source = [f"--voc_root={tmp_path}", f"--split={split}", "--class_names=background,thing", f"--output={tmp_path}/records"]
        run(repository, "data/voc_to_tfrecord.py", *options, *source, f"--num_channels={num_channels}", "--num_shards=2")
    summary = json.loads((tmp_path / "records/train.json").read_text())
    override = (
        f"{SMALL[architecture]},{SHARED},task.model.num_channels={num_channels},task.model.pixel_mean={summary['pixel_mean']},"
        f"task.model.pixel_stddev={summary['pixel_stddev']}"
    )
    experiment = [f"--experiment={architecture}_shapes", f"--data_dir={tmp_path}", f"--params_override={override}"]
    said = run(repository, "official/train.py", *experiment, f"--model_dir={tmp_path}/run")
    assert "done in" in said
    assert list((tmp_path / "run/pictures").glob("*.png"))
    run(repository, "official/evaluate.py", f"--model_dir={tmp_path}/run", f"--data_dir={tmp_path}")
    images = f"--input={tmp_path}/JPEGImages"
    run(repository, "official/predict.py", f"--model_dir={tmp_path}/run", images, f"--output_dir={tmp_path}/predicted")
    verify = f"--verify={tmp_path}/records/val-*.tfrecord"
    said = run(repository, "official/export.py", f"--model_dir={tmp_path}/run", f"--output_dir={tmp_path}/saved", verify)
    assert "largest difference" in said
    run(repository, "official/predict.py", f"--saved_model={tmp_path}/saved", images, f"--output_dir={tmp_path}/exported")
    names = {path.name for path in (tmp_path / "predicted").glob("*_overlay.png")}
    assert len(names) == NUM_IMAGES and names == {path.name for path in (tmp_path / "exported").glob("*_overlay.png")}
    check_signatures(tmp_path, architecture, values["image0"])
    lite = [f"--model_dir={tmp_path}/run", f"--output_dir={tmp_path}/lite", "--format=tflite"]
    if architecture == "deeplab":
        lite += ["--tflite_type=int8", f"--calibration={tmp_path}/JPEGImages"]
    run(repository, "official/export.py", *lite)
    description = json.loads((tmp_path / "lite/model.json").read_text())["inputs"]["images"]
    assert description["shape"][-1] == num_channels and description["colors"].startswith(f"{num_channels} channel")
    interpreter = tf.lite.Interpreter(str(tmp_path / "lite/model.tflite"))
    assert any(found["shape"][-1] == num_channels for found in interpreter.get_input_details())


def check_signatures(folder: pathlib.Path, architecture: str, pixels: np.ndarray) -> None:
    """The same classes or scores from an array, from the bytes that the graph decodes, and from the run."""
    from tpuseg.inference import predictors
    from tpuseg.io import image_channels

    signatures = tf.saved_model.load(str(folder / "saved")).signatures
    key = "classes" if architecture == "deeplab" else "scores"
    of_array = signatures["images"](images=tf.constant(pixels[None]))[key].numpy()[0]
    encoded = tf.constant([image_channels.png(pixels)])
    np.testing.assert_array_equal(signatures["serving_default"](image_bytes=encoded)[key].numpy()[0], of_array)
    found = predictors.Predictor(str(folder / "run"))(pixels)
    wanted = found if architecture == "deeplab" else found.scores
    np.testing.assert_allclose(of_array, wanted, atol=1e-4)
