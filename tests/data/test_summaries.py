"""Small JSON files about classes: whole ones are read, and of any other the message names file and key."""

import json

import pytest

from tpuseg.data import records, summaries

GOOD = {
    "kind": "instances",
    "num_examples": 3,
    "num_classes": 2,
    "class_names": ["cat", "dog"],
    "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
    "shards": ["train-00000-of-00001.tfrecord"],
    "examples_per_shard": [3],
}


def read(tmp_path, value):
    (tmp_path / "train.json").write_text(json.dumps(value))
    return records.read_summary(str(tmp_path / "train-*.tfrecord"))


def test_a_summary_is_read_with_all_that_it_holds(tmp_path):
    assert read(tmp_path, {**GOOD, "more": [1]}) == {**GOOD, "more": [1]}
    assert records.read_summary(str(tmp_path / "val-*.tfrecord")) is None


@pytest.mark.parametrize("key", ["shards", "class_names", "num_classes", "num_examples"])
def test_a_missing_key(tmp_path, key):
    with pytest.raises(ValueError, match=f"train.json: has no `{key}`; convert this data set again"):
        read(tmp_path, {name: value for name, value in GOOD.items() if name != key})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": {"0": "cat"}}, "`class_names` is {'0': 'cat'}, but must be a list of texts"),
        ({"class_names": ["cat", 3]}, "must be a list of texts"),
        ({"class_names": ["cat"]}, "has 1 `class_names`, but `num_classes` is 2"),
        ({"num_classes": "2"}, "`num_classes` is '2', but must be a whole number"),
        ({"num_classes": True}, "`num_classes` is True"),
        ({"num_classes": 0, "class_names": []}, "must be a whole number from 1 on"),
        ({"num_examples": -1}, "`num_examples` is -1"),
        ({"shards": "train-00000-of-00001.tfrecord"}, "must be a list of texts"),
        ({"examples_per_shard": [3, 4]}, "has 2 `examples_per_shard` for 1 `shards`"),
        ({"examples_per_shard": [2.5]}, "must be a list of whole numbers"),
        ({"categories": [{"name": "cat"}, {"name": "dog"}]}, "`categories` is .* must be a list like"),
        ({"categories": GOOD["categories"][:1]}, "has 1 `categories` for 2 `class_names`"),
        ({"kind": 5}, "`kind` is 5, but must be text"),
    ],
)
def test_values_of_other_types_and_lengths(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"train.json: .*{message}"):
        read(tmp_path, {**GOOD, **change})


@pytest.mark.parametrize("value", [[], 5, "text", None, True])
def test_other_json(tmp_path, value):
    with pytest.raises(ValueError, match="train.json: holds .*, but must be a converter's summary"):
        read(tmp_path, value)


def test_names_and_categories_of_a_run(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text('["cat", "dog"]')
    assert summaries.read_class_names(str(path)) == ["cat", "dog"]
    for text in ('{"cat": 1}', "[1]", "5", "null"):
        path.write_text(text)
        with pytest.raises(ValueError, match="classes.json: holds .*, but must be a list of texts"):
            summaries.read_class_names(str(path))
        with pytest.raises(ValueError, match="classes.json: holds .*, but must be a list like"):
            summaries.read_categories(str(path))
