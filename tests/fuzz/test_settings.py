"""Fuzz tests of everything that sets a run up: YAML files, overrides, summaries of records, and TF_CONFIG."""

import json
import os

import outcomes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpuseg.configs import experiments, overrides
from tpuseg.convert import shapes  # noqa: F401 - imported before the first case is timed.
from tpuseg.data import records, summaries
from tpuseg.io import yaml_files
from tpuseg.training import distribution

KEYS = [
    "task", "trainer", "runtime", "model", "losses", "train_data", "backbone", "type", "norm", "momentum", "input_size", "extends",
    "architecture", "optimizer_config", "learning_rate", "polynomial", "stepwise", "boundaries", "values", "ema", "decay_steps",
    "train_steps", "num_classes", "init_checkpoint", "evaluation", "scales", "default_params", "restrictions", "<<", "resnet",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 300),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["deeplab", "maskrcnn", "deeplab_shapes", "resnet", "sgd", "0100", "10:00", "1e4", ".inf", "mine", "imagenet"]),
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
# Pieces of YAML's syntax, put together at random.
YAML_PIECES = [
    "a: ", "b:\n  ", "- ", "[", "]", "{", "}", ", ", "&x ", "*x", "&y ", "*y", "<<: ", "!t ", "!!int ", "!!python/name:os.x ", "é",
    "|\n", ">-\n", "'", '"', "#", "\n", "\n  ", "\t", "? ", ": ", "0100", "10:00", "1e4", ".nan", "~", "---\n", "%YAML 1.2\n",
    "\\x00", "\0", "\ufeff", "\u2028", "trainer:\n  train_steps: ", "extends: mine\n",
]  # fmt: skip
YAML_TEXT = st.lists(st.sampled_from(YAML_PIECES), max_size=40).map("".join)
OVERRIDE_PIECES = ["a", ".", "=", ",", "[", "]", "{", "}", "'", '"', " ", "1", ":", "*", "&", "trainer.train_steps", "1e4", "\n"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(path):
    return experiments.load(path)


@given(content=YAML_TEXT)
def test_yaml_text(folder, content):
    (folder / "mine.yaml").write_text(content)
    document, _ = outcomes.result_or_error(lambda: yaml_files.read("mine.yaml"), "mine.yaml")
    if document:
        json.dumps(document.values)  # Nothing but plain values.
    outcomes.result_or_error(lambda: load("mine.yaml"), "mine.yaml")


@given(content=st.binary(max_size=200))
def test_bytes(folder, content):
    for name, read in (("mine.yaml", load), ("train.json", summaries.read)):
        (folder / name).write_bytes(content)
        outcomes.result_or_error(lambda name=name, read=read: read(name), name)


PARENTS = st.sampled_from(["deeplab_shapes", "maskrcnn_shapes"])


@given(values=st.dictionaries(st.sampled_from(KEYS), NESTED, max_size=5), parent=PARENTS)
def test_nested_values(folder, values, parent):
    (folder / "mine.yaml").write_text(json.dumps({"extends": parent, **values}, ensure_ascii=False), errors="replace")
    outcomes.result_or_error(lambda: load("mine.yaml"), "mine.yaml")


def fields(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


FIELDS = [
    (name, path) for name in ("deeplab_shapes", "maskrcnn_shapes") for path in fields(experiments.load(name).config.as_dict())
]


@given(field=st.sampled_from(FIELDS), value=SCALARS | st.lists(SCALARS, max_size=4))
def test_every_key_with_any_value(folder, field, value):
    name, path = field
    for key in reversed(path.split(".")):
        value = {key: value}
    (folder / "mine.yaml").write_text(json.dumps({"extends": name, **value}, ensure_ascii=False), errors="replace")
    loaded, _ = outcomes.result_or_error(lambda: load("mine.yaml"), "mine.yaml")
    if loaded:  # What is accepted can be written and read back.
        (folder / "again.yaml").write_text(experiments.to_yaml(loaded.config))
        assert repr(experiments.load("again.yaml").config.as_dict()) == repr(loaded.config.as_dict())


@given(text=st.text(max_size=30) | st.lists(st.sampled_from(OVERRIDE_PIECES), max_size=15).map("".join))
def test_overrides(folder, text):
    values, _ = outcomes.result_or_error(lambda: overrides.parse(text, "--params_override"), "--params_override")
    if values is not None:
        json.dumps(values)
    outcomes.result_or_error(lambda: experiments.load("deeplab_shapes", params_override=text), "--params_override")


SUMMARY = {
    "kind": "semantic",
    "num_examples": 2,
    "num_classes": 2,
    "class_names": ["a", "b"],
    "shards": ["train-00000-of-00001.tfrecord"],
    "examples_per_shard": [2],
    "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
}


SUMMARY_KEYS = st.sampled_from(sorted(SUMMARY))


@given(changes=st.dictionaries(SUMMARY_KEYS, NESTED, max_size=3), dropped=st.sets(SUMMARY_KEYS))
def test_summaries(folder, changes, dropped):
    summary = {key: value for key, value in {**SUMMARY, **changes}.items() if key not in dropped}
    (folder / "train.json").write_text(json.dumps(summary))
    read, _ = outcomes.result_or_error(lambda: records.read_summary("train-*.tfrecord"), "train.json")
    if read:  # What readers do with it.
        assert len(read["class_names"]) == read["num_classes"] > 0 and all(isinstance(name, str) for name in read["class_names"])
        dict(zip(read["shards"], map(int, read.get("examples_per_shard", [0] * len(read["shards"]))), strict=True))
        assert all(isinstance(row["name"], str) and isinstance(row["id"], int) for row in read.get("categories", []))


@given(value=NESTED)
def test_names_of_classes(folder, value):
    (folder / "classes.json").write_text(json.dumps(value))
    for read in (summaries.read_class_names, summaries.read_categories):
        outcomes.result_or_error(lambda read=read: read("classes.json"), "classes.json")


@given(
    value=NESTED
    | st.fixed_dictionaries(
        {
            "cluster": st.dictionaries(
                st.sampled_from(["worker", "chief", "ps"]), st.lists(st.sampled_from(["a:1", "b:2", "x", "a:99999"])) | NESTED
            ),
            "task": st.fixed_dictionaries({"type": st.sampled_from(["worker", "chief", "x"]) | NESTED, "index": SCALARS}) | NESTED,
        }
    )
)
def test_tf_config(folder, value):
    text = json.dumps(value)
    before = os.environ.get("TF_CONFIG")
    os.environ["TF_CONFIG"] = text.replace("\0", "")
    try:
        outcomes.result_or_error(distribution._count_cluster_workers, "TF_CONFIG")
    finally:
        os.environ.pop("TF_CONFIG") if before is None else os.environ.update(TF_CONFIG=before)
