"""Faults other than kills for kill_and_resume.py: damaged files, a full disk, and other programs."""

import os
import re
import subprocess
import sys

_INDEX = re.compile(r"ckpt-(\d+)\.index$")
CHECKPOINT_DAMAGE = ("truncated index", "empty index", "flipped index", "no index", "truncated data", "flipped data", "no data")
SMALL_DAMAGE = ("no state file", "truncated state file", "truncated metrics.jsonl", "no classes.json", "truncated config.yaml")


def checkpoints(folder):
    """Lists the checkpoints in a folder by their indexes, without the project's code; the newest is the last one."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    steps = sorted(int(match[1]) for name in names if (match := _INDEX.match(name)))
    return [os.path.join(folder, f"ckpt-{step}") for step in steps]


def damage(folder, kind, random):
    """Damages a file of a model directory.

    Args:
      folder: path of the model directory.
      kind: one of `CHECKPOINT_DAMAGE`, for the newest checkpoint, or one of `SMALL_DAMAGE`.
      random: NumPy random generator.

    Returns:
      A description of the damage; None if the file does not exist yet.
    """
    how, what = kind.split(" ", 1)
    name = {"state file": "checkpoint"}.get(what, what)
    if what in ("index", "data"):
        newest = checkpoints(folder)[-1:]
        if not newest:
            return None
        name = os.path.basename(newest[0]) + (".index" if what == "index" else ".data-00000-of-00001")
    path = os.path.join(folder, name)
    if not os.path.exists(path) or not os.path.getsize(path):
        return None
    if how == "no":
        os.unlink(path)
        return f"{name} removed"
    with open(path, "rb") as file:
        content = bytearray(file.read())
    if how == "flipped":
        # An index has a few bytes of padding at its end, which are never read.
        place = int(random.integers(0, len(content) * 8 // 2 if what == "index" else len(content) * 8))
        content[place // 8] ^= 1 << place % 8
        said = f"{name}: bit {place} of {len(content) * 8} flipped"
    else:
        # The first lines of metrics are kept, as in a truncated copy.
        first = content.rstrip(b"\n").rfind(b"\n") + 2 if name.endswith(".jsonl") else 0
        length = 0 if how == "empty" else int(random.integers(min(first, len(content) - 1), len(content)))
        content = content[:length]
        said = f"{name} cut to {length} bytes"
    with open(path, "wb") as file:
        file.write(content)
    return said


class SmallDisk:
    """A small file system in memory that can be filled."""

    def __init__(self, folder, megabytes):
        """Mounts the file system, which needs root.

        Args:
          folder: path of the mount point, which is created.
          megabytes: size in MiB.
        """
        self.folder = folder
        os.makedirs(folder)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        self.is_mounted = subprocess.run(command, capture_output=True).returncode == 0
        self._filler = os.path.join(folder, "filler")

    def fill(self, free):
        """Fills the file system except for `free` bytes."""
        status = os.statvfs(self.folder)
        self.free()
        with open(self._filler, "wb") as file:
            length = status.f_bavail * status.f_frsize - free
            os.posix_fallocate(file.fileno(), 0, max(length, 1))

    def free(self):
        """Removes the file that fills the file system."""
        if os.path.exists(self._filler):
            os.unlink(self._filler)

    def close(self):
        """Unmounts the file system."""
        if self.is_mounted:
            subprocess.run(["umount", self.folder], check=True)


def children_of(pid):
    """Returns the process ids of all descendants of a process."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found += [int(entry), *children_of(int(entry))]
    return found


def is_running(pid):
    """Returns whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def program(root, path, *flags):
    """Returns the command of a program of this project."""
    return [sys.executable, os.path.join(root, path), *flags]
