"""What a plan depends on: arguments and files of the data set, by which a second run recognises its result."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from tpuseg.formats.listing import Listing
from tpuseg.io import files

# The flag of official/plan.py that sets a value.
_FLAGS = {
    "data": "--data",
    "format_name": "--format",
    "reading.kind": "--task",
    "reading.class_names": "--class_names",
    "reading.values": "--mask_values",
    "reading.boxes_are_masks": "--boxes_are_masks",
    "reading.crowds_are_instances": "--crowds",
    "reading.allow_outside": "--allow_outside",
    "chosen.classes": "--classes",
    "chosen.renamed": "--rename or --merge",
    "chosen.others": "--others",
    "splitting.val_share": "--val_share",
    "splitting.seed": "--seed",
    "splitting.group_by": "--group_by",
    "lists": "--splits",
    "writing.num_shards": "--num_shards",
    "writing.pixel_range": "--pixel_range",
    "writing.num_channels": "--num_channels",
    "device": "--device",
    "budget_seconds": "--budget",
}
# Entries that describe files, and what the message calls them.
_DATA_FILES, _LIST_FILES = "data_files", "list_files"
_CHANGED = {_DATA_FILES: "--data", _LIST_FILES: "--splits"}


def describe(options: Mapping[str, Any], data: str, lists: str, device: str, output: str) -> dict[str, Any]:
    """Returns the arguments and the state of the files as JSON stores them.

    Args:
      options: values of the flags, nested as in `planner.Options`.
      data: folder of the data set; a name of tensorflow-datasets has no files here.
      lists: folder of the lists of the splits; empty without.
      device: name of the device for which the experiment is.
      output: folder of the plan; it may be below `data`, and its files are no part of the data set.
    """
    described = {
        **options,
        "data": os.path.abspath(data) if os.path.isdir(data) else data,
        "lists": os.path.abspath(lists) if lists else "",
        "device": device,
        _DATA_FILES: state_of_files(data, output) if os.path.isdir(data) else "",
        _LIST_FILES: state_of_files(lists, output) if os.path.isdir(lists) else "",
    }
    return json.loads(json.dumps(described))


def state_of_files(folder: str, without: str) -> str:
    """Returns a digest of the names, sizes and modification times of the files of a folder.

    Args:
      folder: its hidden files are not read by any format, and are not part of the digest.
      without: path of a folder whose files, and those of folders that are named after it, are not part of it.
    """
    digest = hashlib.sha256()
    start = os.path.abspath(without)
    for name in Listing(folder).files:
        path = os.path.join(folder, name)
        if os.path.abspath(path).startswith((start + os.sep, start + ".")):
            continue
        status = os.stat(path) if os.path.exists(path) else os.lstat(path)  # A link that leads nowhere.
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def find_differences(path: str, arguments: Mapping[str, Any]) -> str:
    """Returns how the arguments of an earlier plan differ, as part of a message; empty if they do not.

    Args:
      path: `fingerprint.json` of the earlier plan.
      arguments: those of this run, from `describe`.
    """
    try:
        before = _flatten(files.read_json(path)["arguments"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"it has no readable {os.path.basename(path)}"
    now = _flatten(arguments)
    keys = [key for key in now if key not in before or before[key] != now[key]]
    flags = [_FLAGS.get(key, key) for key in keys if key not in _CHANGED]
    if flags:
        return f"it was planned with another value of {', '.join(flags)}"
    if keys:
        return f"files in {' and '.join(_CHANGED[key] for key in keys)} were added, removed or changed since"
    return ""


def _flatten(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Returns the values of nested dictionaries by their keys with dots between; rules for mask values are one value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = start + key
        flat |= _flatten(value, f"{name}.") if isinstance(value, dict) and name not in _FLAGS else {name: value}
    return flat
