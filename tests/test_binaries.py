"""The binaries: their flags stay as they are, and what a user gets wrong is one clear line and exit code 1."""

import json
import re
import runpy
import subprocess
import sys

import coco_folder
import numpy as np
import PIL.Image
import pytest
from absl import flags

from tpuseg import cli

EXPERIMENT_FLAGS = ["config_file", "data_dir", "experiment", "import_module", "model_dir", "params_override", "tpu"]
TILE_FLAGS = ["tile_empty_share", "tile_min_visible", "tile_overlap", "tile_size"]
# Scripts of other people call these; a flag that goes or gets another name breaks them.
FLAGS = {
    "official/plan.py": [
        *("allow_outside", "boxes_are_masks", "budget", "class_names", "classes", "crowds", "data", "device", "format", "group_by"),
        "import_module",
        *("mask_values", "merge", "num_channels", "num_shards", "num_workers", "others", "output", "overwrite", "pixel_range"),
        *("rename", "seed", "splits", "task", "val_share"),
    ],
    "official/train.py": [*EXPERIMENT_FLAGS, "mode", "start_over"],
    "official/evaluate.py": [*EXPERIMENT_FLAGS, "checkpoint"],
    "official/import_weights.py": [*EXPERIMENT_FLAGS, "checkpoint", "class_names", "map_classes", "output", "source"],
    "official/predict.py": [
        *("annotations", "bands", "batch_size", "checkpoint", "input", "model_dir", "output_dir", "overlap", "saved_model"),
        *("score_threshold", "tile", "tile_scale"),
    ],
    "official/report.py": ["data_dir", "detections", "model_dir", "output_dir"],
    "official/export.py": [
        *("calibration", "checkpoint", "fixed_size", "format", "model_dir", "output_dir", "tflite_type", "verify"),
    ],
    "official/preflight.py": [
        *EXPERIMENT_FLAGS,
        "find_batch_size",
        "json",
        "loop_trips",
        "mode",
        "price_per_chip_hour",
        "scaling",
        "top",
        "tpu_type",
    ],
    "data/voc_to_tfrecord.py": [
        "allow_outside",
        "class_names",
        "exif",
        "id_offset",
        "ignore_label",
        "ignore_value",
        "image_suffix",
        "instances",
        "labelmap",
        "mask_dir",
        "mask_suffix",
        "mask_values",
        "num_channels",
        "num_shards",
        "num_workers",
        "output",
        "overwrite",
        "palette",
        "pixel_range",
        "split",
        *TILE_FLAGS,
        "voc_root",
    ],
    "data/coco_to_tfrecord.py": [
        *("allow_outside", "annotations", "crowds", "exif", "images", "num_channels", "num_shards", "num_workers"),
        *("output", "overwrite", "pixel_range", "split", "strict", *TILE_FLAGS),
    ],
    "data/make_shapes.py": ["height", "num_train", "num_val", "output", "seed", "width"],
    "data/inspect_records.py": ["compare", "contact_sheet", "ignore_label", "input", "num_classes", "num_pictures", "num_workers"],
}


@pytest.fixture
def load(repository, monkeypatch):
    """Loads a binary with flags of its own, as in a process of its own."""
    before = set(flags.FLAGS)

    def forget():
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
        flags.FLAGS.unparse_flags()

    def load(path):
        forget()
        monkeypatch.setattr(sys, "path", list(sys.path))  # Those in data/ add the package's folder.
        return runpy.run_path(str(repository / path), run_name="binary")

    yield load
    forget()


@pytest.fixture
def call(load, monkeypatch, capsys):
    """Calls a binary in this process; returns exit code, standard output and standard error."""

    def call(path, *arguments):
        main = load(path)["main"]
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        with pytest.raises(SystemExit) as done:
            cli.run(main)
        return done.value.code or 0, *capsys.readouterr()

    return call


def test_every_binary_is_here(repository):
    found = [f"{folder}/{path.name}" for folder in ("official", "data") for path in (repository / folder).glob("*.py")]
    assert sorted(found) == sorted(FLAGS)


@pytest.mark.parametrize("path", FLAGS)
def test_the_flags_are_frozen(path, load):
    before = set(flags.FLAGS)
    load(path)
    assert sorted(set(flags.FLAGS) - before) == sorted(FLAGS[path])


@pytest.mark.parametrize("path", FLAGS)
def test_every_flag_says_what_it_is(path, load):
    load(path)
    for name in FLAGS[path]:
        assert (flags.FLAGS[name].help or "").partition(";\n")[0].endswith("."), name  # absl adds to those that may be repeated.


def test_modes_are_frozen(load):
    load("official/train.py")
    assert flags.FLAGS["mode"].parser.enum_values == ["train_and_eval", "train", "eval", "continuous_eval"]


@pytest.mark.parametrize("path", ["official/train.py", "data/voc_to_tfrecord.py"])
def test_help_is_no_error(path, repository):
    done = subprocess.run([sys.executable, str(repository / path), "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in FLAGS[path]:
        assert f"--{name}:" in done.stdout or f"--[no]{name}:" in done.stdout
    assert "python " + path in done.stdout  # The example of the module's docstring.


def is_one_clear_error(result, said):
    code, _, error = result
    first, *more = error.strip().splitlines()
    # A second line may list what there is.
    return code == 1 and first.startswith("error: ") and said in error and len(more) <= 1 and "Traceback" not in error


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("official/plan.py", "--data, --output are missing"),
        ("official/train.py", "--experiment is missing; for example --experiment=maskrcnn_shapes"),
        ("official/evaluate.py", "--experiment is missing"),
        ("official/import_weights.py", "--source, --checkpoint, --output are missing"),
        ("official/predict.py", "--model_dir, --input, --output_dir are missing"),
        ("official/report.py", "--model_dir is missing"),
        ("data/voc_to_tfrecord.py", "--voc_root, --split, --output are missing"),
        ("data/coco_to_tfrecord.py", "--images, --annotations, --output are missing"),
        ("data/make_shapes.py", "--output is missing"),
        ("data/inspect_records.py", "--input is missing"),
    ],
)
def test_no_flags(path, said, call):
    assert is_one_clear_error(call(path), said)


def test_plan(call, tmp_path):
    for number in range(4):
        coco_folder.write_image(tmp_path / "data" / "images" / f"{number}.png", seed=number)
    files = [f"{number}.png" for number in range(4)]
    rows = [coco_folder.annotation(number, image_id=number, category_id=3 + 14 * (number % 2)) for number in range(1, 5)]
    coco_folder.write(tmp_path / "data", rows, files=files, name="annotations.json")
    output = tmp_path / "mine"
    arguments = [f"--data={tmp_path / 'data'}", f"--output={output}/", "--val_share=0.5", "--num_shards=1", "--num_workers=1"]
    arguments += ["--classes=pet,auto", "--rename=cat=pet", "--merge=auto=car", "--device=cpu"]
    code, said, error = call("official/plan.py", *arguments, "--group_by=[0-3]")
    assert code == 0, error
    assert f"written to {output}; train with python official/train.py --experiment={output}/experiment.yaml" in said
    assert json.loads((output / "train.json").read_text())["class_names"] == ["pet", "auto"]
    assert json.loads((output / "fingerprint.json").read_text())["num_images"] == {"train": 2, "val": 2}
    code, said, _ = call("official/plan.py", *arguments, "--group_by=[0-3]")
    assert code == 0 and f"{output} is the result of these arguments already" in said
    assert is_one_clear_error(call("official/plan.py", *arguments, "--seed=1"), "but it was planned with another value of --seed")
    assert is_one_clear_error(call("official/plan.py", "--data=nowhere", "--output=there"), "--data=nowhere is no folder")


@pytest.mark.parametrize("path", FLAGS)
def test_an_argument_that_is_no_flag(path, call):
    assert is_one_clear_error(call(path, "experiment=deeplab_shapes"), "`experiment=deeplab_shapes` is not a flag")


@pytest.mark.parametrize("path", ["official/train.py", "official/evaluate.py"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiment=deeplab_shape"], "there is no experiment `deeplab_shape`; did you mean `deeplab_shapes`"),
        (["--experiment=mine.yaml"], "--experiment=mine.yaml: there is no such file"),
        (
            ["--experiment=deeplab_shapes", "--params_override=task.model.num_clases=4"],
            "task.model.num_clases: there is no such key; did you mean `num_classes`",
        ),
        (["--experiment=deeplab_shapes", "--params_override=trainer.train_steps=many"], "must be a whole number"),
        (["--experiment=deeplab_shapes", "--config_file=no.yaml"], "--config_file=no.yaml: there is no such file"),
    ],
)
def test_what_is_no_experiment(path, arguments, said, call):
    assert is_one_clear_error(call(path, *arguments), said)


def test_input_that_is_not_there(call, shapes_dir, tmp_path):
    override = "task.train_data.input_path=shapes/semantic/trian-*.tfrecord"
    given = ["--experiment=deeplab_shapes", f"--params_override={override}", f"--data_dir={shapes_dir}", f"--model_dir={tmp_path}"]
    result = call("official/train.py", *given)
    assert is_one_clear_error(result, f"no file matches {shapes_dir}/shapes/semantic/trian-*.tfrecord")
    assert "such as train" in result[2]


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        ("official/evaluate.py", ["--experiment=deeplab_shapes", "--model_dir={}/no"], "there is no checkpoint {}/no"),
        ("official/evaluate.py", ["--experiment=deeplab_shapes", "--checkpoint={}/ckpt-7"], "there is no checkpoint {}/ckpt-7"),
        ("official/predict.py", ["--model_dir={}", "--input={}/*.jpg", "--output_dir={}/o"], "--input={}/*.jpg matches no image"),
        ("data/inspect_records.py", ["--input={}/*.tfrecord"], "--input={}/*.tfrecord matches no file"),
        ("data/voc_to_tfrecord.py", ["--voc_root={}", "--split=train", "--output={}/o"], "there is no list {}/ImageSets/"),
        ("data/coco_to_tfrecord.py", ["--images={}", "--annotations={}/a.json", "--output={}/o"], "no annotation file {}/a.json"),
    ],
)
def test_files_that_are_not_there(path, arguments, said, call, tmp_path):
    assert is_one_clear_error(call(path, *(argument.format(tmp_path) for argument in arguments)), said.format(tmp_path))


@pytest.mark.parametrize(
    ("path", "flag", "said"),
    [
        ("data/coco_to_tfrecord.py", ["--tile_size=31"], "the tile size is 31, but must be at least 32 pixels"),
        ("data/coco_to_tfrecord.py", ["--tile_size=-1"], "--tile_size is -1, but must be 0 (whole images) or the side"),
        ("data/coco_to_tfrecord.py", ["--tile_overlap=0.5"], "--tile_overlap has no effect without --tile_size"),
        ("data/coco_to_tfrecord.py", ["--tile_size=64", "--tile_overlap=1"], "the overlap of tiles is 1, but must be at least 0"),
        ("data/voc_to_tfrecord.py", ["--tile_size=64", "--tile_min_visible=0.5"], "--tile_min_visible is about objects"),
        ("data/voc_to_tfrecord.py", ["--tile_size=64", "--tile_empty_share=2", "--instances"], "--tile_empty_share is 2, but"),
    ],
)
def test_flags_of_tiles(path, flag, said, call):
    arguments = ["--images=x", "--annotations=y"] if "coco" in path else ["--voc_root=x", "--split=y"]
    assert is_one_clear_error(call(path, *arguments, "--output=o", *flag), said)


def test_a_folder_that_is_no_model_directory(call, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    result = call("official/predict.py", f"--model_dir={tmp_path}", f"--input={tmp_path}", f"--output_dir={tmp_path}/o")
    assert is_one_clear_error(result, f"{tmp_path} has no config.yaml, so it is not a model directory")


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        ("official/export.py", [], "--model_dir, --output_dir are missing"),
        ("official/export.py", ["--model_dir=x"], "--output_dir is missing"),
        ("official/export.py", ["--model_dir=x", "--output_dir=y", "--fixed_size=640"], "--fixed_size=640 is not HEIGHT,WIDTH"),
        ("official/export.py", ["--model_dir=x", "--output_dir=y", "--format=tflite", "--fixed_size=4,4"], "is for --format"),
        ("official/export.py", ["--model_dir=x", "--output_dir=y", "--verify=z-*"], "--verify=z-* names no file; it needs"),
        ("official/export.py", ["--model_dir=x", "--output_dir=y", "--calibration=z"], "--calibration is for --format=tflite"),
        ("official/export.py", ["--checkpoint=x/ckpt-1", "--output_dir=y"], "neither x nor"),
        ("official/predict.py", ["--input=x", "--output_dir=y"], "--model_dir is missing"),
        ("official/predict.py", ["--model_dir=x", "--output_dir=y"], "--input is missing"),
    ],
)
def test_models_that_are_not_there(path, arguments, said, call):
    assert is_one_clear_error(call(path, *arguments), said)


def test_a_saved_model_is_a_whole_model(call, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    arguments = [f"--input={tmp_path}", f"--output_dir={tmp_path}/o", f"--saved_model={tmp_path}"]
    assert is_one_clear_error(call("official/predict.py", *arguments, "--checkpoint=x"), "cannot be combined")
    assert is_one_clear_error(call("official/predict.py", *arguments), f"{tmp_path} is not a SavedModel; official/export.py writes")


def test_records_are_inspected(call, shapes_dir):
    code, said, _ = call("data/inspect_records.py", f"--input={shapes_dir}/shapes/semantic/val-*.tfrecord", "--num_workers=1")
    assert code == 0 and "10 records in 2 files: no faults" in said
    # Too few classes: every fault is a line, and the exit code says that there are some.
    arguments = [f"--input={shapes_dir}/shapes/semantic/val-*.tfrecord", "--num_workers=1", "--num_classes=2"]
    code, said, _ = call("data/inspect_records.py", *arguments)
    assert code == 1 and "which is neither one of the 2 classes nor the ignore label 255" in said


def test_shapes_are_made_and_converted(call, tmp_path):
    root, out = tmp_path / "shapes", tmp_path / "records"
    code, said, _ = call("data/make_shapes.py", f"--output={root}", "--num_train=3", "--num_val=0")
    assert code == 0 and "classes: background, circle" in said
    given = [f"--voc_root={root}", "--split=train", f"--output={out}", "--num_workers=1"]
    code, said, _ = call("data/voc_to_tfrecord.py", *given, "--class_names=background,circle,square,triangle,star,ring")
    assert code == 0 and "3 images in 3 shards, 6 classes" in said
    assert f"use input_path: records/train-*.tfrecord with --data_dir={tmp_path}, of the programs" in said


def test_one_of_everything_is_singular(call, tmp_path):
    ids = np.zeros((32, 32), np.uint8)
    ids[8:16, 8:16] = 1
    folders = {"JPEGImages": ids * 200, "SegmentationClass": ids, "SegmentationObject": ids}
    for folder, pixels in folders.items():
        (tmp_path / "voc" / folder).mkdir(parents=True)
        PIL.Image.fromarray(pixels).save(tmp_path / "voc" / folder / "a.png")
    (tmp_path / "voc" / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "voc" / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    arguments = [f"--voc_root={tmp_path}/voc", "--split=train", "--num_workers=1", "--class_names=background,thing"]
    said = ""
    for kind, more in (("semantic", []), ("instances", ["--instances"])):
        code, converted, _ = call("data/voc_to_tfrecord.py", *arguments, f"--output={tmp_path}/{kind}", *more)
        inspected, found, _ = call("data/inspect_records.py", f"--input={tmp_path}/{kind}/train-*.tfrecord", "--num_workers=1")
        assert code == inspected == 0
        said += converted + found
    assert said.count("1 image in 1 shard, ") == 2 and said.count("1 record in 1 file: no faults") == 2
    assert [words for words in re.findall(r"(?<![\d.,])1 [a-z]+s\b", said) if words != "1 class"] == []


@pytest.mark.parametrize(
    ("output", "pattern", "data_dir"),
    [
        ("datasets/mine", "mine/train-*.tfrecord", "datasets, which is the default"),
        ("datasets/mine/", "mine/train-*.tfrecord", "datasets, which is the default"),
        ("datasets", "train-*.tfrecord", "datasets, which is the default"),
        ("out", "out/train-*.tfrecord", "., of the programs"),
        ("gs://bucket/mine", "mine/train-*.tfrecord", "gs://bucket, of the programs"),
    ],
)
def test_the_hint_about_records_is_the_form_of_the_documentation(output, pattern, data_dir):
    assert f"use input_path: {pattern} with --data_dir={data_dir}" in cli.records_hint(output, "train")
