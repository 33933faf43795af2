"""TF_CONFIG: a cluster's description is read as TensorFlow reads it, and anything else is one line."""

import json

import pytest

from tpuseg.configs import schema
from tpuseg.training import distribution

CLUSTER = {"worker": ["10.0.0.1:2222", "[::1]:2222"]}


@pytest.mark.parametrize(
    ("value", "num_workers"),
    [
        ("", 0),
        ("{}", 0),
        (json.dumps({"environment": "cloud", "cluster": {}}), 0),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 1}}), 2),
        (json.dumps({"cluster": {**CLUSTER, "chief": ["a:1"]}, "task": {"type": "chief", "index": "0"}}), 3),
    ],
)
def test_numbers_of_workers(monkeypatch, value, num_workers):
    monkeypatch.setenv("TF_CONFIG", value)
    assert distribution._count_cluster_workers() == num_workers


def worker(**task):
    return {"cluster": CLUSTER, "task": task}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "is not a description of a cluster; for example"),
        (5, "is not a description of a cluster"),
        (None, "is not a description of a cluster"),
        ({"cluster": []}, "is not a description of a cluster"),
        ({"cluster": {"worker": 3}}, "cluster.worker must be a list of host:port"),
        ({"cluster": {"worker": ["host"]}}, "cluster.worker must be a list of host:port"),
        ({"cluster": {"worker": [5]}}, "cluster.worker must be a list of host:port"),
        ({"cluster": {"worker": ["http://a:1"]}}, "cluster.worker must be a list of host:port"),
        ({"cluster": CLUSTER}, "task.type must be one of worker"),
        ({"cluster": CLUSTER, "task": []}, "task.type must be one of worker"),
        (worker(type="ps", index=0), "task.type must be one of worker"),
        (worker(type=["worker"], index=0), "task.type must be one of worker"),
        (worker(type="worker"), "task.index must be 0 to 1, as cluster.worker has 2"),
        (worker(type="worker", index=2), "task.index must be 0 to 1"),
        (worker(type="worker", index=True), "task.index must be 0 to 1"),
    ],
)
def test_what_is_refused(monkeypatch, value, message):
    monkeypatch.setenv("TF_CONFIG", json.dumps(value))
    with pytest.raises(ValueError, match=f"TF_CONFIG:? {message}"):
        distribution.make_strategy(schema.RuntimeConfig())


@pytest.mark.parametrize("text", ["{", "nonsense", "[" * 20_000])
def test_what_is_not_json(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG is"):
        distribution.make_strategy(schema.RuntimeConfig())
