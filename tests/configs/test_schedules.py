"""The learning rate follows the length of the training, and only a length that is given with it stays as it is."""

from types import SimpleNamespace

import pytest
from official.modeling import optimization

from tpuseg.configs import experiments, schedules

RATE = "trainer.optimizer_config.learning_rate"


def load(override="", name="deeplab_shapes", tmp_path=None, text=""):
    if text:
        (tmp_path / "mine.yaml").write_text(f"extends: {name}\n{text}")
        name = str(tmp_path / "mine.yaml")
    return experiments.load(name, params_override=override)


def rate_at(loaded, step):
    return float(optimization.OptimizerFactory(loaded.config.trainer.optimizer_config).build_learning_rate()(step))


@pytest.mark.parametrize("steps", [100, 950, 1900, 5000])
def test_another_number_of_steps_anneals_to_the_end_and_not_before(steps):
    loaded = load(f"trainer.train_steps={steps}")
    assert rate_at(loaded, steps) == 0 and rate_at(loaded, steps // 2) > 1e-3 and rate_at(loaded, steps - 1) > 0
    assert loaded.notes == (
        [
            f"note: learning_rate.polynomial.decay_steps is {steps} instead of 950, as trainer.train_steps is {steps} instead"
            " of 950; to choose another, give decay_steps together with train_steps"
        ]
        if steps != 950
        else []
    )


def test_boundaries_stay_at_their_share_of_the_training():
    trainer = load("trainer.train_steps=45000", "maskrcnn_coco").config.trainer
    assert trainer.optimizer_config.learning_rate.stepwise.boundaries == [30000, 40000]
    trainer = load("trainer.train_steps=1", "maskrcnn_coco").config.trainer
    assert trainer.optimizer_config.learning_rate.stepwise.boundaries == [1, 2]


def test_a_decay_over_a_part_of_the_training_stays_that_part(tmp_path):
    text = "trainer: {train_steps: 1000, optimizer_config: {learning_rate: {polynomial: {decay_steps: 900}}}}\n"
    trainer = load("trainer.train_steps=2e3", text=text, tmp_path=tmp_path).config.trainer
    assert trainer.optimizer_config.learning_rate.polynomial.decay_steps == 1800


@pytest.mark.parametrize(
    "override",
    [f"trainer.train_steps=2000,{RATE}.polynomial.decay_steps=500", f"{RATE}.polynomial.decay_steps=500"],
)
def test_a_length_that_is_given_stays(override):
    loaded = load(override)
    assert loaded.config.trainer.optimizer_config.learning_rate.polynomial.decay_steps == 500
    [note] = loaded.notes
    assert "decay_steps is 500, but trainer.train_steps is" in note and "the learning rate is 0 from step 500 on" in note


def test_a_length_that_is_given_later_stays(tmp_path):
    text = "trainer: {train_steps: 400}\n"
    loaded = load(f"{RATE}.polynomial.decay_steps=700", text=text, tmp_path=tmp_path)
    assert loaded.config.trainer.optimizer_config.learning_rate.polynomial.decay_steps == 700
    assert "training ends before the learning rate reaches its final value" in loaded.notes[0]


def test_steps_that_are_changed_twice(tmp_path):
    loaded = load("trainer.train_steps=200", text="trainer: {train_steps: 400}\n", tmp_path=tmp_path)
    assert loaded.config.trainer.optimizer_config.learning_rate.polynomial.decay_steps == 200


def test_a_schedule_without_a_length_lasts_as_long_as_the_training():
    loaded = load(f"{RATE}.type=cosine,{RATE}.cosine.initial_learning_rate=0.1,trainer.train_steps=300")
    assert loaded.config.trainer.optimizer_config.learning_rate.cosine.decay_steps == 300 and loaded.notes == []
    with pytest.raises(ValueError, match="stepwise.boundaries: is missing"):
        load(f"{RATE}.type=stepwise,{RATE}.stepwise.values=[0.1]")


def test_what_is_never_reached_is_noted():
    loaded = load(f"trainer.train_steps=40,{RATE}={{type: stepwise, stepwise: {{boundaries: [10, 90], values: [1, 0.1, 0.01]}}}}")
    assert "boundaries has 90, but trainer.train_steps is 40" in loaded.notes[0]
    assert "warmup.linear.warmup_steps is 50, but trainer.train_steps is 40" in loaded.notes[1]


def test_the_configuration_of_a_run_is_followed_too(tmp_path):
    (tmp_path / "config.yaml").write_text(experiments.to_yaml(load("trainer.train_steps=100").config))
    again = load("trainer.train_steps=150", str(tmp_path / "config.yaml"))
    assert again.config.trainer.optimizer_config.learning_rate.polynomial.decay_steps == 150


def follow(*layers):
    """Follows layers of (train_steps, kind of schedule, decay_steps); None is not given."""
    values, merged = [], []
    for steps, kind, decay in layers:
        rate = {"type": kind} if kind else {}
        rate |= {"cosine": {"decay_steps": decay}} if decay else {}
        trainer = ({"train_steps": steps} if steps else {}) | {"optimizer_config": {"learning_rate": rate}}
        before = merged[-1]["trainer"] if merged else {"optimizer_config": {"learning_rate": {}}}
        whole = before["optimizer_config"]["learning_rate"] | rate
        values.append({"trainer": trainer})
        merged.append({"trainer": {**before, **trainer, "optimizer_config": {"learning_rate": whole}}})
    changed, note = schedules.follow(values, merged)
    decay = schedules.look_up(changed, "trainer", "optimizer_config", "learning_rate", "cosine", "decay_steps")
    assert changed == ({} if decay is None else schedules._nest("cosine", "decay_steps", decay))
    return decay, note is not None


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([(1000, "cosine", 900), (2000, None, None)], (1800, True)),
        ([(1000, "cosine", 900), (2000, None, None), (None, None, 700)], (None, False)),
        ([(1000, "cosine", "9e2")], (None, False)),
        ([(1000, "cosine", None)], (1000, False)),
        ([(None, "cosine", 900), (2000, None, None)], (None, False)),  # How long the training was is not known.
        ([(None, "cosine", None)], (None, False)),
        ([(1000, "constant", None)], (None, False)),
        ([(1000, None, None)], (None, False)),
        ([(1000, "cosine", "short"), (2000, None, None)], (None, False)),  # The check of the type has a message for it.
        ([(1000, "cosine", 1), (1200, None, None)], (None, False)),  # 1.2 steps are 1 step.
    ],
)
def test_what_follows_the_training(layers, expected):
    assert follow(*layers) == expected


@pytest.mark.parametrize("name", experiments.experiment_names())
def test_no_experiment_has_a_schedule_that_does_not_fit(name):
    assert experiments.load(name).notes == []


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (1, 1),
        ("1e3", 1000),
        (2**31 - 1, 2**31 - 1),
        (2**31, None),
        (0, None),
        (-3, None),
        (1.5, None),
        (True, None),
        ("abc", None),
        (None, None),
        (float("inf"), None),
    ],
)
def test_whole_numbers_of_steps(value, whole):
    found = schedules._whole(value)
    assert found == whole and type(found) is type(whole)


def test_a_length_is_scaled_to_at_least_one_step():
    assert schedules._scale(1, 100, 1000) == 1 and schedules._scale(500, 100, 1000) == 50


def test_the_last_layer_with_a_value():
    assert [schedules._last_layer([{"a": 1}, {"a": 0}, {"b": 2}], key) for key in "abc"] == [1, 2, -1]


def notes(steps, kind, warmup=None, **settings):
    rate = {"type": kind, kind: settings}
    warmup = {"warmup": {"type": "linear", "linear": {"warmup_steps": warmup}}} if warmup else {}
    optimizer = optimization.OptimizationConfig({"learning_rate": rate, **warmup})
    return schedules.notes(SimpleNamespace(train_steps=steps, optimizer_config=optimizer))


ZERO, LATE = "the learning rate is 0 from step 80 on", "training ends before the learning rate reaches its final value"
UNREACHED, WARMUP = "the rate does not change there", "the learning rate never reaches its full value"


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("polynomial", {"decay_steps": 80}, [ZERO]),
        ("polynomial", {"decay_steps": 80, "offset": 20}, []),  # The decay begins at step 20.
        ("polynomial", {"decay_steps": 80, "offset": 21}, [LATE]),
        ("polynomial", {"decay_steps": 80, "end_learning_rate": 0.01}, []),
        ("polynomial", {"decay_steps": 80, "end_learning_rate": 0.0, "cycle": True}, []),
        ("cosine", {"decay_steps": 80}, [ZERO]),
        ("cosine", {"decay_steps": 80, "alpha": 0.1}, []),
        ("power_linear", {"total_decay_steps": 80}, [ZERO]),
        ("exponential", {"decay_steps": 80}, []),  # It has no end.
        ("constant", {}, []),
        ("stepwise", {"boundaries": None}, []),
        ("stepwise", {"boundaries": [50, 99]}, []),
        ("stepwise", {"boundaries": [50, 100]}, [UNREACHED]),
        ("stepwise", {"boundaries": [50, 90], "offset": 20}, [UNREACHED]),
        ("constant", {"warmup": 99}, []),
        ("constant", {"warmup": 100}, [WARMUP]),
    ],
)
def test_notes_about_a_training_of_100_steps(kind, settings, expected):
    found = notes(100, kind, **({"end_learning_rate": 0.0} if kind == "polynomial" else {}) | settings)
    assert [note.rpartition(": ")[2] for note in found] == expected


def test_a_training_of_one_step_without_warmup_has_no_note_about_it():
    assert notes(1, "constant") == []
