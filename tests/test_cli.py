"""What a program shows when something goes wrong: one line, and a traceback in a file for its own faults."""

import glob
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from tpuseg import cli
from tpuseg.io import files


def explained(error, capsys):
    code = cli._explain(error)
    said = capsys.readouterr().err
    assert code == 1 and said.startswith("error: ") and "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (tf.errors.NotFoundError(None, None, "a/b.tfrecord; No such file or directory\nmore"), "a/b.tfrecord; No such file"),
        (tf.errors.PermissionDeniedError(None, None, "a/b; Permission denied"), "a/b; Permission denied"),
        (tf.errors.ResourceExhaustedError(None, None, "a/b; No space left on device"), "a/b; No space left on device"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), "not enough memory on the device"),
        (tf.errors.OpError(None, None, "not an sstable (bad magic number)", 2), "not an sstable"),
        (
            tf.errors.NotFoundError(
                None,
                None,
                "Graph execution error:\n\nDetected at node GetNext defined at (most recent call last):\n"
                "<stack traces unavailable>\n"
                "{{function_node __wrapped__X}} a/b.tfrecord; No such file or directory\n\t [[{{node GetNext}}]]",
            ),
            "error: a/b.tfrecord; No such file or directory",
        ),
        (MemoryError(), "there is not enough memory"),
        (OSError(28, "No space left on device", "runs/x"), "No space left on device: 'runs/x'"),
        (ValueError(), "ValueError"),
    ],
)
def test_what_a_user_can_set_right_is_one_line(error, said, capsys):
    shown = explained(error, capsys)
    assert said in shown and len(shown.splitlines()) == 1


_FAULTS = [TypeError("a fault\nof two lines"), tf.errors.InternalError(None, None, "of a kernel"), KeyError("x")]


@pytest.mark.parametrize("error", _FAULTS)
def test_a_fault_of_the_program_is_a_line_that_names_its_traceback(error, capsys):
    try:
        raise error
    except type(error) as raised:
        shown = explained(raised, capsys)
    assert f"error: {type(error).__name__}: " in shown and "this is an internal error" in shown
    assert len(shown.splitlines()) == 2
    path = pathlib.Path(re.search(r"its traceback is in (\S+\.txt)", shown)[1])
    text = path.read_text()
    path.unlink()
    assert "Traceback (most recent call last)" in text and "raise error" in text and "Python 3" in text


def test_a_traceback_that_cannot_be_written_is_shown(capsys, monkeypatch):
    monkeypatch.setattr(cli.tempfile, "gettempdir", lambda: "/nowhere")
    assert cli._explain(TypeError("x")) == 1
    assert "its traceback is above" in capsys.readouterr().err


PROGRAM = """
import os, signal, sys
sys.path.insert(0, {official!r})
from tpuseg import cli
def main(argv):
    what = argv[1] if len(argv) > 1 else ""
    if what == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
        import time; time.sleep(5)
    if what == "in an import":  # Which turns it into an error of another class.
        try:
            os.kill(os.getpid(), signal.SIGINT)
            import time; time.sleep(5)
        except KeyboardInterrupt:
            raise ImportError("initialization of _core raised unreported exception")
    if what == "bug":
        raise TypeError("a bug")
if __name__ == "__main__":
    cli.run(main)
"""


@pytest.mark.parametrize(("what", "code", "lines"), [("interrupted", 130, 1), ("in an import", 130, 1), ("bug", 1, 2)])
def test_programs_end_with_a_line(what, code, lines, repository, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(official=str(repository / "official")))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("TPUSEG_TRACE", None)
    done = subprocess.run([sys.executable, str(path), what], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == lines
    if what == "bug":
        assert len(list(tmp_path.glob("tpuseg-error-*.txt"))) == 1
        environment["TPUSEG_TRACE"] = "1"
        done = subprocess.run([sys.executable, str(path), what], capture_output=True, text=True, env=environment)
        assert "Traceback" in done.stderr and "a bug" in done.stderr


WORKERS = """
import sys, time
sys.path.insert(0, {official!r})
from tpuseg.utils import parallel
def wait(number):
    open(f"{{sys.argv[1]}}/{{__import__('os').getpid()}}", "w").close()
    time.sleep(0.05)
    return number
if __name__ == "__main__":
    for _ in parallel.map_in_processes(wait, range(100000), 2):
        pass
"""


def test_workers_end_with_a_killed_program(repository, tmp_path):
    path, started = tmp_path / "program.py", tmp_path / "started"
    started.mkdir()
    path.write_text(WORKERS.format(official=str(repository / "official")))
    with subprocess.Popen([sys.executable, str(path), str(started)]) as process:
        deadline = time.monotonic() + 60
        while len(list(started.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    workers = [int(each.name) for each in started.iterdir()]
    deadline = time.monotonic() + 10
    while any(map(_is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(map(_is_running, workers))


def _is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_killed_processes_left_is_removed(tmp_path, monkeypatch):
    dead, own = 2**22 + 7, os.getpid()
    names = ("a.json.{dead}.tmp", "a.json.{own}.tmp", "a.json.{dead}-{host}.tmp", "b.{dead}-00000000.tmp", "a.tmp")
    for name in (name.format(dead=dead, own=own, host=files._hash_host_name()) for name in names):
        (tmp_path / name).write_text("half")
    (tmp_path / f"export.{dead}.tmp").mkdir()
    (tmp_path / f"export.{dead}.tmp/saved_model.pb").write_text("half")
    files.remove_left_over(str(tmp_path), "export.")
    assert len(list(tmp_path.iterdir())) == 5
    files.remove_left_over(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"a.json.{own}.tmp", f"b.{dead}-00000000.tmp", "a.tmp"])
    old = time.time() - 25 * 3600  # Of a host that nobody here can ask.
    os.utime(tmp_path / f"b.{dead}-00000000.tmp", (old, old))
    files.remove_left_over(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"a.json.{own}.tmp", "a.tmp"])
    files.remove_left_over(str(tmp_path / "none"))


def test_tensorflow_says_nothing_about_a_missing_gpu():
    if glob.glob("/dev/nvidia*"):
        pytest.skip("this machine has a GPU")
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]}
    code = "import tpuseg, tensorflow as tf; print(len(tf.config.list_physical_devices('CPU')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
