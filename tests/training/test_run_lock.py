"""The lock on a model directory: one training at a time, and none that a killed one could leave behind."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from tpuseg.io import files
from tpuseg.training import run_lock


def write(folder, **changes):
    """Writes the file that a killed training of this host would leave."""
    lock = run_lock.RunLock(str(folder))
    folder.mkdir(exist_ok=True)
    (folder / "train.lock").write_text(json.dumps({**lock._holder, "pid": 2**22 + 7, "process_start": "7", **changes}))


def test_one_at_a_time(tmp_path):
    folder = tmp_path / "run"
    with run_lock.hold(str(folder)):
        said = rf"run is in use by another training \(process {os.getpid()} on .*, started 2.*; wait until it ends"
        with pytest.raises(ValueError, match=said), run_lock.hold(str(folder)):
            pass
        assert (folder / "train.lock").exists()
    assert not list(folder.iterdir())
    with run_lock.hold(str(folder)):
        pass


def test_another_process_holds_it_until_it_is_killed(tmp_path, repository):
    code = f"from tpuseg.training.run_lock import RunLock; RunLock({str(tmp_path)!r}).acquire(); print('held', flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": str(repository / "official")}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {other.pid} on"), run_lock.hold(str(tmp_path)):
            pass
        other.kill()
        other.wait()
        assert (tmp_path / "train.lock").exists()
        with run_lock.hold(str(tmp_path)):
            assert json.loads((tmp_path / "train.lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": "x"}', '{"pid": -1, "host": 5}', "\x00" * 100, "[" * 9000])
def test_a_damaged_lock_of_nobody(content, tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "WATCH_SECONDS", 0.1)
    (tmp_path / "train.lock").write_text(content)
    with run_lock.hold(str(tmp_path)):
        pass


def test_without_locks_of_the_system_a_process_of_this_host_is_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "fcntl", None)
    monkeypatch.setattr(run_lock, "_SETTLE_SECONDS", 0.0)
    write(tmp_path)
    with run_lock.hold(str(tmp_path)):  # There is no such process.
        pass
    write(tmp_path, pid=os.getpid(), process_start="7")
    with run_lock.hold(str(tmp_path)):  # There is one, but it started at another time.
        pass
    write(tmp_path, pid=os.getpid(), process_start=run_lock.process_start(os.getpid()))
    with pytest.raises(ValueError, match="in use by another training"), run_lock.hold(str(tmp_path)):
        pass
    assert (tmp_path / "train.lock").exists()


@pytest.mark.parametrize("has_locks", [True, False])
def test_another_host_is_watched(has_locks, tmp_path, monkeypatch):
    if not has_locks:
        monkeypatch.setattr(run_lock, "fcntl", None)
    monkeypatch.setattr(run_lock, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(run_lock, "WATCH_SECONDS", 0.6)
    elsewhere = {"host": "elsewhere", "boot": "another"}
    write(tmp_path, **elsewhere, beats=1)
    with run_lock.hold(str(tmp_path)):  # No beat came.
        pass

    write(tmp_path, **elsewhere, beats=1)
    beating = threading.Timer(0.1, write, [tmp_path], {**elsewhere, "beats": 2})
    beating.start()
    with pytest.raises(ValueError, match="on elsewhere, started"), run_lock.hold(str(tmp_path)):
        pass
    beating.join()

    write(tmp_path, **elsewhere)
    old = time.time() - run_lock.STALE_SECONDS - 1
    os.utime(tmp_path / "train.lock", (old, old))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits") if seconds else None)
    with run_lock.hold(str(tmp_path)):
        pass


def test_two_that_start_at_once_where_there_are_no_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "fcntl", None)
    monkeypatch.setattr(run_lock, "_SETTLE_SECONDS", 0.1)
    first = run_lock.RunLock(str(tmp_path))
    other = threading.Timer(0.03, write, [tmp_path], {"host": "elsewhere"})
    other.start()
    with pytest.raises(ValueError, match="on elsewhere"):
        first.acquire()
    other.join()


def test_a_holder_beats_and_takes_the_lock_again_when_the_folder_was_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.02)
    folder = tmp_path / "run"
    with run_lock.hold(str(folder)):
        (folder / "train.lock").unlink()
        folder.rmdir()
        time.sleep(0.1)
        assert not folder.exists()
        folder.mkdir()
        deadline = time.monotonic() + 5
        while not (files.exists(str(folder / "train.lock")) and (folder / "train.lock").read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(ValueError, match="in use"), run_lock.hold(str(folder)):
            pass


def test_a_model_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--model_dir=.*/file is a file; choose a folder"), run_lock.hold(str(tmp_path / "file")):
        pass
    with pytest.raises(OSError, match="cannot create the model directory .*/file/run"), run_lock.hold(str(tmp_path / "file/run")):
        pass
