"""Experiments: every one loads, and every mistake is answered with its place and the way out."""

import pytest
import yaml

from tpuseg.configs import experiments
from tpuseg.deeplab import config as deeplab_config


@pytest.mark.parametrize("name", experiments.experiment_names())
def test_every_experiment_loads_and_reads_back(name, tmp_path):
    experiment = experiments.load(name)
    written = tmp_path / "config.yaml"
    written.write_text(experiments.to_yaml(experiment.config))
    assert experiments.load(str(written)).config.as_dict() == experiment.config.as_dict()


@pytest.mark.parametrize("name", experiments.experiment_names())
def test_every_header_says_command_hardware_and_score(name):
    header = [line for line in open(experiments.find_experiment(name)).read().splitlines() if line.startswith("#")]
    for word in ("command:", "hardware:"):
        assert any(word in line for line in header), f"{name} does not say its {word}"


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_extends_and_overrides_win_in_order(tmp_path):
    path = write(tmp_path, "extends: deeplab_shapes\ntask:\n  model:\n    num_classes: 9\n  losses:\n    class_weights: []\n")
    later = tmp_path / "later.yaml"
    later.write_text("trainer:\n  train_steps: 7\n")
    loaded = experiments.load(path, [str(later)], "trainer.max_to_keep=2,task.model.num_classes=11").config
    assert isinstance(loaded, deeplab_config.ExperimentConfig)
    assert loaded.task.model.num_classes == 11
    assert loaded.trainer.train_steps == 7
    assert loaded.trainer.max_to_keep == 2
    assert loaded.task.model.backbone.type == "mobilenet_v2"


def test_unknown_experiment_names_the_nearest_and_lists_all():
    with pytest.raises(ValueError, match="no experiment `deeplab_shape`; did you mean `deeplab_shapes`") as error:
        experiments.load("deeplab_shape")
    assert "deeplab_voc" in str(error.value)


def test_unknown_key_names_file_line_path_and_nearest(tmp_path):
    path = write(tmp_path, "extends: deeplab_shapes\ntask:\n  model:\n    num_clases: 9\n")
    with pytest.raises(ValueError, match=r"mine.yaml:4: task.model.num_clases: there is no such key; did you mean `num_classes`"):
        experiments.load(path)


def test_wrong_type_names_file_line_and_path(tmp_path):
    path = write(tmp_path, "extends: deeplab_shapes\ntrainer:\n  train_steps: many\n")
    with pytest.raises(ValueError, match=r"mine.yaml:3: trainer.train_steps: is 'many', but must be a whole number"):
        experiments.load(path)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    loaded = experiments.load("deeplab_shapes", params_override="task.losses.l2_weight_decay=1e-3").config
    assert loaded.task.losses.l2_weight_decay == 1e-3


@pytest.mark.parametrize("text", ["1e4", "10000", "10_000", "1.0e+4", "1E4", "10000.0"])
def test_steps_as_people_write_them(tmp_path, text):
    path = write(tmp_path, f"extends: deeplab_shapes\ntrainer:\n  train_steps: {text}\n")
    assert experiments.load(path).config.trainer.train_steps == 10000
    assert experiments.load("deeplab_shapes", params_override=f"trainer.train_steps={text}").config.trainer.train_steps == 10000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".inf", "is inf, but must be a finite number"),
        (".nan", "is nan, but must be a finite number"),
        ("1e999", "is '1e999', but must be a finite number"),
        ("inf", "is 'inf', but must be a number"),
        ("NaN", "is 'NaN', but must be a number"),
        ("9" * 400, "is 9+..., but must be a finite number"),
        ("0x" + "f" * 9000, "is a number of thousands of digits, but must be a finite number"),
        ("'010.5'", "is '010.5', but must be a number"),
        ("0010", "YAML reads `0010` in base 8"),
        ("1:30", "YAML reads `1:30` in base 60"),
        ("[1]", r"is \[1\], but must be a number"),
        ("yes", "is True, but must be a number"),
    ],
)
def test_rates_that_are_no_numbers(tmp_path, text, message):
    path = write(tmp_path, f"extends: deeplab_shapes\ntask:\n  losses:\n    l2_weight_decay: {text}\n")
    with pytest.raises(ValueError, match=f"mine.yaml:4: (task.losses.l2_weight_decay: )?{message}"):
        experiments.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5", "is 1.5, but must be a whole number"),
        ("1e-1", "is '1e-1', but must be a whole number"),
        ("1e300", "is '1e300', which is too large"),
        ("08", "is '08', but must be a whole number"),
        ("yes", "is True, but must be a whole number"),
    ],
)
def test_steps_that_are_no_whole_numbers(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"mine.yaml:3: trainer.train_steps: {message}"):
        experiments.load(write(tmp_path, f"extends: deeplab_shapes\ntrainer:\n  train_steps: {text}\n"))


def test_merge_keys(tmp_path):
    text = "extends: deeplab_shapes\ntask:\n"
    text += "  train_data: &data {input_path: a, generate: ''}\n  validation_data:\n    <<: *data\n    input_path: b\n"
    task = experiments.load(write(tmp_path, text)).config.task
    assert (task.train_data.input_path, task.validation_data.input_path, task.validation_data.generate) == ("a", "b", "")


def test_text_that_yaml_reads_as_another_type(tmp_path):
    with pytest.raises(ValueError, match="mine.yaml:2: runtime.tpu: is 5, but must be text; put it in quotes"):
        experiments.load(write(tmp_path, "extends: deeplab_shapes\nruntime: {tpu: 5}\n"))


def test_the_line_of_an_item_of_a_list(tmp_path):
    with pytest.raises(ValueError, match=r"mine.yaml:4: task.model.input_size\[1\]: is 'x'"):
        experiments.load(write(tmp_path, "extends: deeplab_shapes\ntask:\n  model:\n    input_size: [64, x]\n"))


@pytest.mark.parametrize("parent", ["[a]", "5", "{a: 1}", "''"])
def test_a_parent_must_be_a_name(tmp_path, parent):
    with pytest.raises(ValueError, match="mine.yaml:1: extends: is .*, but must be the name of an experiment"):
        experiments.load(write(tmp_path, f"extends: {parent}\n"))


def test_experiments_that_extend_each_other_by_other_paths(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="cannot extend itself"):
        experiments.load(write(tmp_path, "extends: folder/../mine\n"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.losses.ignore_label=3", "is 3, which is also one of the 6 classes"),
        ("task.losses.ignore_label=-1", "is -1, but must be 6 to 255, because masks have 8 bits; use 255"),
        ("task.losses.ignore_label=256", "is 256, but must be 6 to 255, because masks have 8 bits; use 255"),
        ("task.model.num_classes=256", "is 256, but must be between 2 and 255"),
        ("task.model.output_stride=4", "must be 8, 16 or 32"),
        ("task.losses.class_weights=[1.0,2.0]", "has 2 values for 6 classes"),
        ("task.model.norm.momentum=99", "is 99.0, but must be at least 0 and below 1"),
        ("task.model.norm.momentum=1", "at least 0 and below 1"),
        ("task.losses.label_smoothing=2", "at least 0 and below 1"),
        ("task.losses.class_weights=[-1,1,1,1,1,1]", r"class_weights\[0\]: is -1.0, but must be at least 0"),
        ("task.losses.class_weights=[0,0,0,0,0,0]", "are all 0"),
        ("task.losses.l2_weight_decay=-1", "must be between 0 and 1"),
        ("task.model.aspp.dropout_rate=1.5", "at least 0 and below 1"),
        ("task.model.aspp.atrous_rates=[6,0]", r"atrous_rates\[1\]: is 0, but must be between 1 and 1000"),
        ("task.model.backbone.mobilenet_v2.width_multiplier=0", "must be above 0 and at most 8"),
        ("task.model.backbone.type=null", "backbone.type: is missing"),
        ("task.model.input_size=[16,64]", r"input_size\[0\]: is 16, but must be between 32 and 16384"),
        ("task.train_data.scale_min=0", "must be above 0"),
        ("task.train_data.scale_max=0.5", "task.train_data.scale_max: scale_min 0.8 is larger than scale_max 0.5"),
        ("task.train_data.seed=-1", "must be between 0 and"),
        ("task.train_data.shuffle_buffer_size=3000000000", "must be at most 2147483647"),
        ("task.evaluation.scales=[]", "scales: is empty"),
        ("trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate=-0.01", "must be between 0 and 1000"),
        ("trainer.optimizer_config.learning_rate.polynomial.decay_steps=0", "must be at least 1"),
        ("trainer.optimizer_config.learning_rate.type=cosine", "cosine.initial_learning_rate: is missing"),
        ("trainer.optimizer_config.warmup.linear.warmup_steps=-1", "must be at least 0"),
        ("trainer.optimizer_config.warmup.linear.warmup_steps=null", "warmup_steps: is missing"),
        ("trainer.optimizer_config.optimizer.adam.beta_1=1", "at least 0 and below 1"),
        ("trainer.optimizer_config.ema.average_decay=1", "at least 0 and below 1"),
        (
            "trainer.optimizer_config.learning_rate={type: stepwise, stepwise: {boundaries: [5, 5], values: [1, 1, 1]}}",
            "each must be larger",
        ),
        (
            "trainer.optimizer_config.learning_rate={type: stepwise, stepwise: {boundaries: [5], values: [1]}}",
            "1 value for 1 boundary;",
        ),
        ("task.model.norm.mode=sync", "`sync` is not one of trainable, synchronized, frozen"),
        ("task.model.backbone.type=mobilenet", "did you mean `mobilenet_v2`"),
        ("trainer.optimizer_config.optimizer.type=sdg", "did you mean `sgd`"),
        ("trainer.train_steps=0", "must be at least 1"),
        ("architecture=deeplabb", "did you mean `deeplab`"),
        ("task.model.num_channels=0", "is 0, but must be between 1 and 64"),
        ("task.model.num_channels=65", "is 65, but must be between 1 and 64"),
        ("task.model.num_channels=4,task.model.pixel_scaling=caffe", "caffe is defined for three channels: give pixel_mean"),
        ("task.model.pixel_mean=[1,2]", "pixel_mean has 2 values, but num_channels is 3; give one value per channel"),
        (
            "task.model.num_channels=2,task.model.pixel_mean=[1,2],task.model.pixel_stddev=[1,2,3]",
            "task.model.pixel_stddev: pixel_stddev has 3 values, but num_channels is 2",
        ),
        ("task.model.pixel_stddev=[1,1,1]", "task.model.pixel_stddev: is given without pixel_mean; give both, or neither"),
        ("task.model.pixel_mean=[0.4,0.4,0.4],task.model.pixel_stddev=[0.2,0.2,0.2]", "is 0.2, but must be between 1 and 255"),
        (
            "task.model.num_channels=1,task.train_data={input_path: '', tfds_name: a, tfds_split: b}",
            "num_channels is 1, but data sets of tensorflow-datasets are read with 3; convert them",
        ),
    ],
)
def test_impossible_values(override, message):
    with pytest.raises(ValueError, match=message):
        experiments.load("deeplab_shapes", params_override=override)


@pytest.mark.parametrize("architecture", ["deeplab", "maskrcnn"])
@pytest.mark.parametrize(
    "override",
    [
        "task.model.num_channels=5",
        "task.model.num_channels=1,task.model.pixel_scaling=caffe,task.model.pixel_mean=[115],task.model.pixel_stddev=[1]",
        "task.model.pixel_mean=[1,2,3],task.model.pixel_stddev=[4,5,6]",
    ],
)
def test_numbers_of_channels_that_work(architecture, override):
    experiments.load(f"{architecture}_shapes", params_override=override)


def test_a_contradiction_names_the_value_that_was_given_last(tmp_path):
    path = write(tmp_path, "extends: deeplab_shapes\ntask:\n  model:\n    num_classes: 9\n")
    with pytest.raises(ValueError, match="mine.yaml:4: task.model.num_classes: has 6 values for 9 classes"):
        experiments.load(path)


def test_a_key_given_twice(tmp_path):
    path = write(tmp_path, "extends: deeplab_shapes\ntrainer: {}\ntrainer: {}\n")
    with pytest.raises(ValueError, match=r"mine.yaml:3: `trainer` is given twice \(first at .*mine.yaml:2\)"):
        experiments.load(path)


def test_an_experiment_cannot_extend_itself(tmp_path):
    with pytest.raises(ValueError, match="cannot extend itself"):
        experiments.load(write(tmp_path, "extends: mine\n"))


def test_another_batch_size_alone_is_noted():
    notes = experiments.load("deeplab_shapes", params_override="task.train_data.global_batch_size=4").notes
    assert "would multiply it by 0.5" in notes[0]
    assert experiments.load("deeplab_shapes").notes == []


def test_the_tpu_flag_wins():
    assert experiments.load("deeplab_shapes", tpu="my-tpu").config.runtime.tpu == "my-tpu"


def test_files_are_plain_yaml(repository):
    for path in (repository / "experiments").glob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict)
