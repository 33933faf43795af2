"""A lock on a model directory, which prevents two trainings from writing to the same directory.

The file `train.lock` identifies the holder. Another program finds out as follows whether the holder is alive:

- On a local disk, and on NFS, the operating system locks the file for the holder (flock) and releases the lock when the process
  ends for any reason: a lock that can be taken is stale.
- Where flock is unavailable (gs://, some network file systems, Windows), a holder on this host is alive if a process with its id
  and its start time exists. For programs on other hosts the holder writes a heartbeat into the file every few seconds; a program
  that finds the file watches it for a while, and takes the lock if the heartbeats have stopped.

This module must never end a run that has the lock: a heartbeat that cannot be written is skipped.
"""

import contextlib
import json
import os
import socket
import threading
import time
import typing
import uuid
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tpuseg.io import files

try:
    import fcntl
except ImportError:  # Not available on Windows.
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "train.lock"
BEAT_SECONDS = 15.0
# A heartbeat may be late on a machine that swaps or with a slow network.
WATCH_SECONDS = 50.0
# An older lock is not watched, because the clocks of two hosts do not differ by this much.
STALE_SECONDS = 900.0
_SETTLE_SECONDS = 2.0


def process_start(pid: int) -> str:
    """Returns the start time of a process of this host in the system's format, for comparisons; empty if it does not exist."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # Field 22, in clock ticks since the machine was started; the name before it may contain spaces and brackets.
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _read_boot_id() -> str:
    """Returns the boot id of this machine, which is equal in all of its containers; empty if there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


@contextlib.contextmanager
def hold(model_dir: str) -> Iterator["RunLock"]:
    """Holds the lock of a model directory inside the block.

    Args:
      model_dir: path of the model directory; it is created if it does not exist.

    Raises:
      ValueError: another training holds the lock; the message identifies it.
      OSError: the directory cannot be written.
    """
    lock = RunLock(model_dir)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


class RunLock:
    """The lock of one model directory."""

    def __init__(self, model_dir: str) -> None:
        self._model_dir = model_dir
        self._path = os.path.join(model_dir, LOCK_FILE)
        self._file: int | None = None
        self._stop = threading.Event()
        self._beats = 0
        self._holder = {
            "host": socket.gethostname(),
            "boot": _read_boot_id(),
            "pid": os.getpid(),
            "process_start": process_start(os.getpid()),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            # Distinguishes this holder from an earlier one with the same host and process id.
            "id": uuid.uuid4().hex,
        }

    def acquire(self) -> None:
        """Acquires the lock, or raises the errors of `hold`."""
        _make_folder(self._model_dir)
        locked_by_system = "://" not in self._path and self._lock_file()
        other = self._read()
        if other and not (locked_by_system and self._is_of_this_machine(other)):
            self._require_stale(other)
        try:
            self._write()
        except OSError as error:
            self._give_up()
            raise OSError(f"cannot write {self._path}: {error}") from error
        if not locked_by_system:
            self._require_own()
        threading.Thread(target=self._beat, name="run lock", daemon=True).start()

    def _is_of_this_machine(self, other: dict[str, Any]) -> bool:
        return other.get("host") == self._holder["host"] or bool(other.get("boot") and other["boot"] == self._holder["boot"])

    def _lock_file(self) -> bool:
        """Locks the file; returns False if the file system has no locks, and raises ValueError if another process holds it."""
        while fcntl is not None:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise OSError(f"cannot write to the model directory {self._model_dir}: {error.strerror}") from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                self._refuse(self._read() or {})
            except OSError:
                os.close(file)
                return False
            if _is_at(file, self._path):
                self._file = file
                return True
            os.close(file)  # The holder removed the file between the two calls.
        return False

    def _require_stale(self, other: dict[str, Any]) -> None:
        """Raises ValueError if the holder in the file is alive."""
        if other.get("host") == self._holder["host"]:
            pid = other.get("pid")
            start = process_start(pid) if isinstance(pid, int) else ""
            if isinstance(pid, int) and files.is_alive(pid) and (not start or start == other.get("process_start")):
                self._refuse(other)
            return
        if self._measure_seconds_since_beat() > STALE_SECONDS:
            return
        print(
            f"{self._path} belongs to a training on another host ({_describe(other)}); checking for {WATCH_SECONDS:.0f} s whether"
            " it is alive",
            flush=True,
        )
        end = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < end:
            time.sleep(min(1.0, WATCH_SECONDS / 4))
            now = self._read()
            if not now:
                return
            if now != other:
                self._refuse(now)

    def _measure_seconds_since_beat(self) -> float:
        try:
            return time.time() - tf.io.gfile.stat(self._path).mtime_nsec / 1e9
        except tf.errors.OpError:
            return 0.0

    def _require_own(self) -> None:
        """Raises ValueError if another training that started at the same time wrote the file after this one."""
        time.sleep(_SETTLE_SECONDS)
        now = self._read()
        if now and now.get("id") != self._holder["id"]:
            self._refuse(now)

    def _refuse(self, other: dict[str, Any]) -> typing.NoReturn:
        self._give_up()
        raise ValueError(
            f"{self._model_dir} is in use by another training ({_describe(other)}); wait until it ends, stop it, or use another"
            " --model_dir"
        )

    def _read(self) -> dict[str, Any] | None:
        try:
            with tf.io.gfile.GFile(self._path, "rb") as file:
                found = json.loads(file.read() or b"null")
        except (tf.errors.OpError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self) -> None:
        content = (json.dumps({**self._holder, "beat": self._beats}) + "\n").encode()
        if self._file is None:
            files.write_bytes(self._path, content)
            return
        # The file is written in place, because a new file with this name would not be locked.
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content, 0)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._beats += 1
            with contextlib.suppress(OSError, ValueError):
                self._renew()

    def _renew(self) -> None:
        """Writes the next heartbeat; acquires the lock again if the directory was removed and created again."""
        if self._file is not None and not os.path.exists(self._path):
            if not os.path.isdir(self._model_dir):
                return
            self._give_up()
            self._lock_file()
        self._write()

    def _give_up(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def release(self) -> None:
        """Removes the file if it still belongs to this holder, and releases the lock."""
        self._stop.set()
        found = self._read()
        with contextlib.suppress(OSError, tf.errors.OpError):
            if found and found.get("id") == self._holder["id"]:
                tf.io.gfile.remove(self._path)
        self._give_up()


def _is_at(file: int, path: str) -> bool:
    """Returns whether an open file is the file at a path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _make_folder(path: str) -> None:
    """Creates a model directory; errors name it."""
    try:
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise ValueError(f"--model_dir={path} is a file; choose a folder")
        tf.io.gfile.makedirs(path)
    except tf.errors.OpError as error:
        raise OSError(f"cannot create the model directory {path}: {error.message}") from error


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "which has not written its name yet"
    return f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started')}"
