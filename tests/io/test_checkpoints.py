"""Checkpoints and metrics files: whole or passed over, and never forgotten by a restart."""

import json
import resource

import numpy as np
import pytest
import tensorflow as tf

from tpuseg.io import checkpoints, files


@pytest.fixture
def value():
    return tf.Variable(0.0)


@pytest.fixture
def checkpoint(value):
    return tf.train.Checkpoint(value=value)


def save(checkpoint, value, folder, *steps):
    saved = checkpoints.Checkpoints(checkpoint, str(folder), max_to_keep=3)
    for step in steps:
        value.assign(step)
        saved.save_if_new(step)
    return saved


def cut_off(folder, step):
    (data,) = folder.glob(f"ckpt-{step}.data*")
    data.write_bytes(data.read_bytes()[:-3])


def test_the_newest_is_restored_and_old_ones_go(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 1, 2, 3, 4)
    value.assign(9)
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest() == str(tmp_path / "ckpt-4") and value == 4
    assert checkpoints.list_checkpoints(str(tmp_path)) == [str(tmp_path / f"ckpt-{step}") for step in (2, 3, 4)]
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path / "none"), 3).restore_newest() is None


def test_a_step_that_was_restored_is_not_saved_again(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 1, 2)
    again = checkpoints.Checkpoints(checkpoint, str(tmp_path), 3)
    again.restore_newest()
    value.assign(7)
    again.save_if_new(2)
    checkpoints.restore(checkpoint, str(tmp_path / "ckpt-2"))
    assert value == 2


def test_a_broken_checkpoint_is_saved_again_when_its_step_comes(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 1, 2)
    cut_off(tmp_path, 2)
    again = checkpoints.Checkpoints(checkpoint, str(tmp_path), 3)
    assert again.restore_newest() == str(tmp_path / "ckpt-1")
    value.assign(2)
    again.save_if_new(2)
    value.assign(9)
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest() == str(tmp_path / "ckpt-2") and value == 2


def test_what_kills_left_unfinished_goes_with_the_next_save(checkpoint, value, tmp_path):
    for folder in (tmp_path, tmp_path / "best_checkpoint"):
        (folder / "ckpt-6_temp").mkdir(parents=True)
        (folder / "ckpt-6_temp/part-00000-of-00001.data.tempstate155").write_bytes(b"half")
    (tmp_path / "ckpt-6_temperature").mkdir()  # Somebody's own.
    save(checkpoint, value, tmp_path, 8)
    checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint).update({"score": 0.5}, 8)
    assert sorted(path.name for path in tmp_path.rglob("*6*")) == ["ckpt-6_temperature"]


def test_nothing_but_broken_checkpoints(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 1, 2)
    cut_off(tmp_path, 1)
    cut_off(tmp_path, 2)
    before = listing(tmp_path)
    said = r"(?s)none that training can continue from: ckpt-2 is damaged .*; ckpt-1 is damaged .* --start_over"
    with pytest.raises(ValueError, match=said):
        checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest()
    assert listing(tmp_path) == before


def listing(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", ["empty index", "short index", "flipped index", "flipped value", "no data"])
def test_any_damage_to_the_newest_is_passed_over_and_moved_aside(damage, checkpoint, value, tmp_path, capsys):
    save(checkpoint, value, tmp_path, 1, 2)
    index, data = tmp_path / "ckpt-2.index", tmp_path / "ckpt-2.data-00000-of-00001"
    does = {
        "empty index": lambda: index.write_bytes(b""),
        "short index": lambda: index.write_bytes(index.read_bytes()[:100]),
        "flipped index": lambda: flip(index, 20),
        # Within the value itself, which only a checksum can tell from another number.
        "flipped value": lambda: flip(data, data.read_bytes().index(np.float32(2).tobytes()) + 1),
        "no data": data.unlink,
    }
    does[damage]()
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest() == str(tmp_path / "ckpt-1") and value == 1
    said = capsys.readouterr().out
    assert f"warning: checkpoint {tmp_path}/ckpt-2 is damaged (" in said and "is moved to" in said
    moved = sorted(path.name for path in (tmp_path / "damaged_checkpoints").iterdir())
    assert moved == ["ckpt-2.data-00000-of-00001"] * (damage != "no data") + ["ckpt-2.index"]
    assert not list(tmp_path.glob("ckpt-2*"))


@pytest.mark.parametrize("state", [None, b"", b"model_checkpoint_path: \"ckpt-", b'model_checkpoint_path: "ckpt-1"'])
def test_the_indexes_tell_what_there_is_and_not_the_state_file(state, checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 9, 10)
    (tmp_path / "checkpoint").unlink() if state is None else (tmp_path / "checkpoint").write_bytes(state)
    assert checkpoints.find(str(tmp_path)) == str(tmp_path / "ckpt-10")
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest() == str(tmp_path / "ckpt-10") and value == 10


def test_data_without_an_index_is_not_trained_over(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 2)
    (tmp_path / "ckpt-2.index").unlink()
    with pytest.raises(ValueError, match="ckpt-2 has data but no index"):
        checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest()


def test_a_kill_in_the_first_save_does_not_block_the_next_start(checkpoint, value, tmp_path, capsys):
    save(checkpoint, value, tmp_path, 2)
    for name in ("ckpt-2.index", "checkpoint"):
        (tmp_path / name).unlink()
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest() is None
    assert "data but no index: the process was killed while saving it" in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("ckpt-2*")] == ["ckpt-2.data-00000-of-00001"]


def test_data_that_a_kill_left_of_an_old_checkpoint_goes_with_the_next_save(checkpoint, value, tmp_path):
    saved = save(checkpoint, value, tmp_path, 1, 2, 3)
    (tmp_path / "ckpt-1.index").unlink()
    value.assign(4)
    saved.save_if_new(4)
    assert sorted({path.stem for path in tmp_path.glob("ckpt-*")}) == ["ckpt-2", "ckpt-3", "ckpt-4"]


def test_a_best_checkpoint_alone_is_not_trained_over(checkpoint, value, tmp_path):
    checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint).update({"score": 0.5}, 8)
    with pytest.raises(ValueError, match="only the best checkpoint exists, best_checkpoint/ckpt-8"):
        checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest()


def test_a_state_file_alone_is_a_note(checkpoint, tmp_path, capsys):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"')
    assert checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest() is None
    assert "starting at step 0" in capsys.readouterr().out


def test_a_failed_save_leaves_the_earlier_ones_and_no_part(checkpoint, value, tmp_path):
    saved = save(checkpoint, value, tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # Like a full disk: a write ends with an error.
        with pytest.raises(checkpoints.SaveError, match="(?s)cannot save checkpoint .*ckpt-2: .*the same command\s+resumes"):
            saved.save_if_new(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "ckpt-1.data-00000-of-00001", "ckpt-1.index"]
    saved.save_if_new(2)
    assert checkpoints.find(str(tmp_path)) == str(tmp_path / "ckpt-2")


def test_a_folder_that_is_removed_during_a_save_is_made_again(checkpoint, value, tmp_path, monkeypatch):
    folder, write, calls = tmp_path / "run", tf.train.Checkpoint.write, []

    def removed_meanwhile(self, path):
        calls.append(path)
        if len(calls) == 1:
            raise tf.errors.NotFoundError(None, None, f"{path}_temp; No such file or directory")
        return write(self, path)

    monkeypatch.setattr(tf.train.Checkpoint, "write", removed_meanwhile)
    save(checkpoint, value, folder, 1)
    assert len(calls) == 2 and checkpoints.find(str(folder)) == str(folder / "ckpt-1")


def test_the_state_file_names_what_is_there(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 1, 2, 3, 4)
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert [checkpoints.step_of(path) for path in state.all_model_checkpoint_paths] == [2, 3, 4]
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-4")


def test_files_that_cannot_be_read_for_now_are_not_damaged(checkpoint, value, tmp_path, monkeypatch):
    save(checkpoint, value, tmp_path, 1, 2)

    def fails(path):
        raise tf.errors.UnavailableError(None, None, "no route to host")

    monkeypatch.setattr(tf.train, "load_checkpoint", fails)
    monkeypatch.setattr(tf.io.gfile.GFile, "read", lambda self, n=-1: fails(""))
    with pytest.raises(OSError, match="cannot read .*ckpt-2.index: no route to host"):
        checkpoints.Checkpoints(checkpoint, str(tmp_path), 3).restore_newest()
    assert not (tmp_path / "damaged_checkpoints").exists()


@pytest.mark.parametrize("name", ["exp [1]", "a*b", "what?", "back\\slash"])
def test_folders_with_characters_of_patterns(name, checkpoint, value, tmp_path):
    folder = tmp_path / name
    save(checkpoint, value, folder, 1, 2, 3, 4)
    assert [checkpoints.step_of(path) for path in checkpoints.list_checkpoints(str(folder))] == [2, 3, 4]
    value.assign(0)
    assert checkpoints.Checkpoints(checkpoint, str(folder), 3).restore_newest() == str(folder / "ckpt-4") and value == 4
    (folder / "ckpt-4.index").write_bytes(b"")
    assert checkpoints.find(str(folder)) == str(folder / "ckpt-3")
    assert checkpoints.open_reader(str(folder / "ckpt-3")).get_tensor("value/.ATTRIBUTES/VARIABLE_VALUE") == 3
    with pytest.raises(ValueError, match=r"ckpt-4 is damaged .*intact: .*ckpt-2, .*ckpt-3"):
        checkpoints.find(str(folder / "ckpt-4"))


def test_a_damaged_best_checkpoint(checkpoint, value, tmp_path, capsys):
    save(checkpoint, value, tmp_path, 4)
    checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint).update({"score": 0.5}, 2)
    (tmp_path / "best_checkpoint/ckpt-2.index").write_bytes(b"")
    assert checkpoints.find(str(tmp_path)) == str(tmp_path / "ckpt-4")
    assert "best_checkpoint/ckpt-2 is damaged" in capsys.readouterr().out
    again = checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint)
    again.forget_if_damaged()
    assert again.value is None and (tmp_path / "best_checkpoint/damaged_checkpoints/ckpt-2.index").exists()
    assert again.update({"score": 0.1}, 4) and checkpoints.find(str(tmp_path)) == str(tmp_path / "best_checkpoint/ckpt-4")


_NOT_INFO = [b"", b"{", b"[]", b'{"metric": "score"}', b'{"metric": "score", "value": "high"}', b"\xff\xfe\x00"]


@pytest.mark.parametrize("info", _NOT_INFO)
def test_the_value_of_the_best_is_also_among_the_evaluations(info, checkpoint, tmp_path, capsys):
    rows = [{"step": 2, "score": 0.5}, {"step": 4, "score": 0.4}]
    checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint).update(rows[0], 2)
    (tmp_path / "best_checkpoint/info.json").write_bytes(info)
    again = checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint, evaluations=rows)
    assert again.value == 0.5 and "info.json cannot be read" in capsys.readouterr().out
    assert checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint).value is None


def test_lines_of_metrics_that_are_none_are_left_out(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 2}\n{"step": 4, "mean_i\n[1]\n{"step": "6"}\n\xff\n{"step": 8}\n{"st')
    results = checkpoints.Results(str(tmp_path))
    assert results.steps() == {2, 8}
    assert f"{tmp_path}/metrics.jsonl: line 2, 3, 4, 5, 7 is not an evaluation" in capsys.readouterr().out
    results.write({"step": 10})
    assert rows(tmp_path) == [2, 8, 10]


def test_an_evaluation_by_itself_replaces_none_of_training(tmp_path):
    for step in (2, 4):
        checkpoints.Results(str(tmp_path)).write({"step": step, "mean_iou": 0.5})
    path = checkpoints.Results(str(tmp_path)).write_alone({"step": 2, "mean_iou": 0.1})
    assert path == str(tmp_path / "metrics-ckpt-2.json") and files.read_json(path)["mean_iou"] == 0.1
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"step": 4, "mean_iou": 0.5}
    assert [json.loads(line)["mean_iou"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [0.5, 0.5]
    checkpoints.Results(str(tmp_path)).write_alone({"step": 3, "mean_iou": 0.3})
    assert rows(tmp_path) == [2, 3, 4] and json.loads((tmp_path / "metrics.json").read_text())["step"] == 4


def test_a_checkpoint_of_another_model(checkpoint, value, tmp_path):
    save(checkpoint, value, tmp_path, 1)
    other = tf.train.Checkpoint(value=value, more=tf.Variable(0.0))
    with pytest.raises(ValueError, match="ckpt-1 belongs to another model or optimizer than this experiment"):
        checkpoints.Checkpoints(other, str(tmp_path), 3).restore_newest()


def test_other_workers_read_what_the_first_wrote_and_write_elsewhere(checkpoint, value, tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "own"
    save(checkpoint, value, shared, 1)
    checkpoints.BestCheckpoint(str(shared), "score", "higher", checkpoint).update({"score": 0.5}, 1)
    checkpoints.Results(str(shared)).write({"step": 1})
    worker = checkpoints.Checkpoints(checkpoint, str(shared), 1, str(own))
    assert worker.restore_newest() == str(shared / "ckpt-1")
    worker.save_if_new(1)  # As the first worker, it has nothing to save: all of them take part in saving, or none.
    assert checkpoints.list_checkpoints(str(own)) == []
    best = checkpoints.BestCheckpoint(str(shared), "score", "higher", checkpoint, str(own))
    assert best.value == 0.5 and not best.update({"score": 0.4}, 2) and best.update({"score": 0.6}, 3)
    results = checkpoints.Results(str(shared), str(own))
    assert results.steps() == {1}
    results.write({"step": 2})
    assert json.loads((shared / "metrics.json").read_text()) == {"step": 1}
    assert json.loads((shared / "best_checkpoint/info.json").read_text())["step"] == 1
    assert sorted(path.name for path in own.iterdir()) == ["best_checkpoint", "metrics.json", "metrics.jsonl"]


@pytest.mark.parametrize(("comparison", "kept"), [("higher", [1, 3]), ("lower", [1, 2])])
def test_the_best_is_kept_over_restarts(checkpoint, value, tmp_path, comparison, kept):
    updates = []
    for step, score in ((1, 0.5), (2, 0.3), (3, 0.6), (4, 0.6)):
        best = checkpoints.BestCheckpoint(str(tmp_path), "score/mean", comparison, checkpoint)
        value.assign(step)
        updates += [step] if best.update({"score": {"mean": score}}, step) else []
    assert updates == kept
    checkpoints.restore(checkpoint, checkpoints.find(str(tmp_path)))
    assert value == kept[-1]


def test_a_kill_before_the_best_is_noted_means_that_it_is_kept_again(checkpoint, tmp_path, monkeypatch):
    best = checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint)
    best.update({"score": 0.5}, 1)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            best.update({"score": 0.7}, 2)
    again = checkpoints.BestCheckpoint(str(tmp_path), "score", "higher", checkpoint)
    assert again.value == 0.5 and again.update({"score": 0.7}, 2)
    assert json.loads((tmp_path / "best_checkpoint/info.json").read_text()) == {"metric": "score", "value": 0.7, "step": 2}


def test_a_metric_that_the_evaluation_has_not(checkpoint, tmp_path):
    best = checkpoints.BestCheckpoint(str(tmp_path), "bbox/AP", "higher", checkpoint)
    with pytest.raises(ValueError, match="the evaluation has no metric `bbox/AP`, only mean_iou, bbox/AP50"):
        best.update({"mean_iou": 1.0, "bbox": {"AP50": 0.5}}, 1)
    assert not checkpoints.BestCheckpoint(str(tmp_path), "", "higher", checkpoint).update({}, 1)


def rows(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_evaluating_an_earlier_checkpoint_forgets_no_later_one(tmp_path):
    for step in (2, 4, 2):
        checkpoints.Results(str(tmp_path)).write({"step": step, "mean_iou": 0.5})
    assert rows(tmp_path) == [2, 4] and json.loads((tmp_path / "metrics.json").read_text())["step"] == 4


def test_training_that_goes_back_forgets_what_it_lost(tmp_path):
    for step in (2, 4, 6):
        checkpoints.Results(str(tmp_path)).write({"step": step})
    results = checkpoints.Results(str(tmp_path))
    results.forget_later(2)
    assert results.steps() == {2}
    results.write({"step": 4})
    assert rows(tmp_path) == [2, 4]


def test_a_kill_between_the_two_metrics_files(tmp_path, monkeypatch):
    results = checkpoints.Results(str(tmp_path))
    results.write({"step": 2})
    write, calls = files.write_bytes, []

    def killed_at_the_second(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            results.write({"step": 4})
    # Either step 4 is evaluated again, or both files have it.
    again = checkpoints.Results(str(tmp_path))
    assert 4 not in again.steps() or json.loads((tmp_path / "metrics.json").read_text())["step"] == 4


def test_what_is_no_checkpoint(checkpoint, value, tmp_path):
    with pytest.raises(ValueError, match="contains no checkpoint; train first, or give the path of one"):
        checkpoints.find(str(tmp_path))
    save(checkpoint, value, tmp_path, 1, 2)
    with pytest.raises(ValueError, match=r"there is no checkpoint .*ckpt-7 \(existing checkpoints: .*ckpt-1, .*ckpt-2\)"):
        checkpoints.find(str(tmp_path / "ckpt-7"))
    assert checkpoints.find(str(tmp_path)) == checkpoints.find(str(tmp_path / "ckpt-2")) == str(tmp_path / "ckpt-2")
    assert not checkpoints.is_best(str(tmp_path / "ckpt-2")) and checkpoints.is_best("a/best_checkpoint/ckpt-2")
