"""Values on the command line."""

import pytest

from tpuseg.configs import experiments, overrides


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1,a.c=x", {"a": {"b": 1, "c": "x"}}),
        ("a = 1, b=2.5,", {"a": 1, "b": 2.5}),
        ("a=[1,2],b=true", {"a": [1, 2], "b": True}),
        ("a=[[1,2],[3,4]]", {"a": [[1, 2], [3, 4]]}),
        ("a='x,y',b=\"p,q\"", {"a": "x,y", "b": "p,q"}),
        ("a=gs://bucket/x-*.tfrecord", {"a": "gs://bucket/x-*.tfrecord"}),
        ("a=exp [1]/train-*.tfrecord,b=1", {"a": "exp [1]/train-*.tfrecord", "b": 1}),
        ("a=*.tfrecord,b=train[:90%]", {"a": "*.tfrecord", "b": "train[:90%]"}),
        ("a=,b=1", {"a": None, "b": 1}),
        ("a=1,a=2", {"a": 2}),
        ("a={b: 1, c: [2]}", {"a": {"b": 1, "c": [2]}}),
        ("a=1e-4", {"a": "1e-4"}),
        ("", {}),
    ],
)
def test_what_is_read(text, values):
    assert overrides.parse(text, "--flag") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "--flag: `nonsense` does not begin with `key=`"),
        ("a=1,b", "`b` does not begin with `key=`"),
        ("a=[1,2", r"--flag: a: `\[1,2` has no end"),
        ("a='x", "has no end"),
        ("a=[1]x", "there is `x` behind the value"),
        ("a=1,a.b=2", "--flag: a.b: `a` is given a value and keys of its own"),
        ("a..b=1", "--flag: a..b: is not a key"),
        (".".join("a" * 100_000) + "=1", "is not a key"),
        ("a=[" * 3 + "1", "has no end"),
        ("a=" + "[" * 5000 + "]" * 5000, "nested deeper"),
        ("a=0100", "--flag: a: YAML reads `0100` in base 8"),
        ("a=10:00", "in base 60"),
        ("a=[*b]", "--flag: a:1: is not valid YAML: found undefined alias"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as error:
        overrides.parse(text, "--flag")
    assert len(str(error.value)) < 400


def test_a_file_of_overrides(tmp_path):
    (tmp_path / "x=1.yaml").write_text("trainer: {max_to_keep: 7}")
    assert experiments.load("deeplab_shapes", params_override=str(tmp_path / "x=1.yaml")).config.trainer.max_to_keep == 7
    with pytest.raises(ValueError, match="--params_override=nope.yaml: there is no such file"):
        experiments.load("deeplab_shapes", params_override="nope.yaml")
    assert not overrides.is_file("task.train_data.input_path=x.yaml")


def test_an_empty_value_of_a_text_is_empty_text():
    assert experiments.load("deeplab_shapes", params_override="task.init_checkpoint=").config.task.init_checkpoint == ""
