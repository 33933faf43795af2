"""Damaged model directories: checkpoints and the small files beside them. The right result, or one error that names the file."""

import functools
import json
import pathlib
import shutil
import tempfile

import numpy as np
import outcomes
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tpuseg.configs import experiments
from tpuseg.io import checkpoints
from tpuseg.training import run_directory, run_lock

SMALL = ("checkpoint", "best_checkpoint/info.json", "metrics.jsonl", "metrics.json", "config.yaml", "train.lock")
# How a file is damaged: cut at a place, bits flipped, bytes put in, or other content altogether.
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("flip"), st.lists(st.floats(0, 0.9999), min_size=1, max_size=4)),
    st.tuples(st.just("insert"), st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=20))),
    st.tuples(st.just("replace"), st.binary(max_size=60)),
    st.tuples(st.just("replace"), st.sampled_from([b"null", b"5", b"[]", b"{}", b"[" * 5000, b'{"step": NaN}\n', b"\xff\xfe"])),
    st.tuples(st.just("remove"), st.none()),
)


def values(step):
    return np.arange(step * 100, step * 100 + 300, dtype=np.float32)


@pytest.fixture(scope="module")
def variables():
    weights = tf.Variable(values(0))
    return weights, tf.train.Checkpoint(weights=weights, name=tf.Variable("text"))


@pytest.fixture(scope="module")
def original(variables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    weights, checkpoint = variables
    for step in (2, 4, 6):
        weights.assign(values(step))
        checkpoints.save(checkpoint, str(folder), step)
        checkpoints.Results(str(folder)).write({"step": step, "score": step / 10})
    checkpoints.BestCheckpoint(str(folder), "score", "higher", checkpoint).update({"score": 0.6}, 6)
    run_directory.write_config(experiment(), str(folder))
    (folder / "train.lock").write_text(json.dumps(run_lock.RunLock(str(folder))._holder | {"pid": 2**22 + 7}))
    return folder


@pytest.fixture
def copied(original):
    """Gives a function that copies the directory, as hypothesis runs a test many times with the same fixtures."""
    with tempfile.TemporaryDirectory() as parent:
        numbers = iter(range(1 << 30))

        def copy():
            return pathlib.Path(shutil.copytree(original, pathlib.Path(parent) / f"run{next(numbers)}"))

        yield copy


def do_damage(path, damage):
    how, what = damage
    content = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
        return
    if how == "cut":
        content = content[: int(what * len(content))]
    elif how == "flip":
        for place in what:
            bit = int(place * len(content) * 8)
            content[bit // 8] ^= 1 << bit % 8
    elif how == "insert":
        place = int(what[0] * len(content))
        content[place:place] = what[1]
    else:
        content = what
    path.write_bytes(bytes(content))


def is_right(weights, path):
    return np.array_equal(weights.numpy(), values(checkpoints.step_of(path)))


@given(damages=st.dictionaries(st.sampled_from(["4.index", "4.data", "6.index", "6.data"]), DAMAGE, min_size=1, max_size=3))
def test_training_continues_from_the_newest_intact_checkpoint(damages, copied, variables):
    folder, (weights, checkpoint) = copied(), variables
    for name, damage in damages.items():
        do_damage(next(folder.glob(f"ckpt-{name}*")), damage)
    weights.assign(values(0))
    restored = checkpoints.Checkpoints(checkpoint, str(folder), 3).restore_newest
    path, error = outcomes.result_or_error(restored, str(folder))
    # One is whole whatever happened, and whatever is restored has its own values to the bit.
    assert not error and path is not None and is_right(weights, path)
    untouched = [step for step in (2, 4, 6) if not any(name.startswith(f"{step}.") for name in damages)]
    assert checkpoints.step_of(path) >= max(untouched)


@given(index=DAMAGE, data=DAMAGE)
def test_a_checkpoint_that_is_named_is_right_or_refused(index, data, copied, variables):
    folder, (weights, checkpoint) = copied(), variables
    do_damage(folder / "ckpt-4.index", index)
    do_damage(next(folder.glob("ckpt-4.data*")), data)
    path, error = outcomes.result_or_error(lambda: checkpoints.find(str(folder / "ckpt-4")), str(folder / "ckpt-4"))
    if not error:
        checkpoints.restore(checkpoint, path)
        assert is_right(weights, path)


@given(damages=st.dictionaries(st.sampled_from(["best_checkpoint/ckpt-6", "ckpt-6", "ckpt-4", "ckpt-2"]), DAMAGE, min_size=1))
def test_a_run_is_found_or_refused_by_name(damages, copied, variables):
    folder, (weights, checkpoint) = copied(), variables
    for name, damage in damages.items():
        do_damage(folder / f"{name}.index", damage)
    path, error = outcomes.result_or_error(lambda: checkpoints.find(str(folder)), str(folder))
    if not error:
        checkpoints.restore(checkpoint, path)
        assert is_right(weights, path)


@functools.cache
def experiment():
    return experiments.load("deeplab_shapes").config


def read_small_files(folder, checkpoint):
    """Does what a start of training does with the small files."""
    results = checkpoints.Results(str(folder))
    best = checkpoints.BestCheckpoint(str(folder), "score", "higher", checkpoint, evaluations=results.rows)
    best.forget_if_damaged()
    assert best.value is None or isinstance(best.value, float)
    path = checkpoints.Checkpoints(checkpoint, str(folder), 3).restore_newest()
    results.forget_later(checkpoints.step_of(path))
    run_directory.require_same_architecture(str(folder), "deeplab")
    run_directory.update_config(experiment(), str(folder), 6)
    results.write({"step": 8, "score": 0.7})
    with run_lock.hold(str(folder)):
        return path


@given(damages=st.dictionaries(st.sampled_from(SMALL), DAMAGE, min_size=1, max_size=4))
def test_small_files_never_stand_in_the_way(damages, copied, variables):
    folder = copied()
    for name, damage in damages.items():
        do_damage(folder / name, damage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lock, "WATCH_SECONDS", 0.01)
        path, error = outcomes.result_or_error(lambda: read_small_files(folder, variables[1]), str(folder))
    refused = "of another training" in error or "is the model directory of a" in error or "in use by another" in error
    assert refused or path == str(folder / "ckpt-6"), error
    # What is left is whole again.
    if path:
        assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()][-1] == 8
        assert run_directory.changed_settings(str(folder / "config.yaml"), experiment()) == []
