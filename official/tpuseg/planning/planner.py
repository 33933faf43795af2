"""From a folder of labelled images to records, splits, a fingerprint and an experiment, in one new folder."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

from tpuseg.configs import experiments
from tpuseg.convert.objects import REPAIRS
from tpuseg.formats import classes, detection, splits, tfds
from tpuseg.formats import dataset as formats_dataset
from tpuseg.formats.dataset import INSTANCES, TRAIN, VAL, Dataset
from tpuseg.io import files
from tpuseg.planning import arguments as plan_arguments
from tpuseg.planning import audit, conversion, experiment_file, fingerprint, report, selection
from tpuseg.planning.fingerprint import Fingerprint
from tpuseg.planning.rules import Choice, Device
from tpuseg.planning.selection import Selected
from tpuseg.utils.messages import format_count

SPLITS_FOLDER = "splits"
_DATA_DIR = "datasets"
# Before the name of a data set of tensorflow-datasets.
_TFDS = "tfds:"
# Problems that are printed; the report has all.
_PRINTED = 5
# What a plan consists of; a folder with anything else is never replaced.
_OWN_FILES = re.compile(
    rf"(train|val|test)(-\d{{5}}-of-\d{{5}}\.tfrecord|\.json)|{SPLITS_FOLDER}|{re.escape(experiments.FINGERPRINT_FILE)}"
    rf"|{re.escape(experiments.PLAN_FILE)}|{re.escape(report.FILE)}"
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to plan.

    Attributes:
      format_name: of the data set; found out from its files if it is empty.
      reading: how to read what can be read in two ways.
      chosen: choice among the classes.
      splitting: how to split what the layout does not split.
      lists: folder of lists of the images of each split, which replace both; empty without.
      writing: how records are written.
      device: `cpu`, `gpu` or a type of TPU, for which the experiment is; empty for this computer's.
      budget_seconds: Time for the whole training; 0 without a limit.
      overwrite: replaces an earlier plan with other arguments.
    """

    format_name: str = ""
    reading: formats_dataset.Options = formats_dataset.Options()
    chosen: classes.Options = classes.Options()
    splitting: splits.Options = splits.Options()
    lists: str = ""
    writing: conversion.Options = conversion.Options()
    device: str = ""
    budget_seconds: int = 0
    overwrite: bool = False


def plan(data: str, output: str, options: Options, say: Callable[[str], None]) -> bool:
    """Writes records, splits, fingerprint, experiment and report; the folder gets its name when all of them are complete.

    Args:
      data: folder of images and labels, or `tfds:` and the name of a data set of tensorflow-datasets.
      output: local folder; its parent is created if it does not exist.
      options: what to plan.
      say: is called with every line for people.

    Returns:
      Whether anything was written; False if the folder has the result of the same arguments.

    Raises:
      ValueError: the data set or an option cannot be used, or the folder has something else; names file and value.
    """
    output = output.rstrip("/") or output
    if "://" in output:
        raise ValueError(f"--output={output} must be a local folder; copy it afterwards, for instance with gsutil -m cp -r")
    device = selection.find_device(options.device, measures=options.budget_seconds > 0)
    arguments = _arguments(data, output, options, device.name)
    if _is_there(output, arguments, options.overwrite):
        return False
    # Of runs that were killed.
    files.remove_left_over(os.path.dirname(os.path.abspath(output)), f"{os.path.basename(output)}.")
    building, downloaded = files.temporary_name(output), files.temporary_name(f"{output}.data")
    try:
        dataset = _read(_local_folder(data, downloaded), options)
        _describe(dataset, say)
        os.makedirs(building)
        _fill(building, output, dataset, options, device, arguments, say)
        _replace(building, output)
    finally:
        for folder in (building, downloaded):
            shutil.rmtree(folder, ignore_errors=True)
    return True


def _local_folder(data: str, downloaded: str) -> str:
    """Returns the folder of a data set; one of tensorflow-datasets is written to `downloaded`."""
    if not data.startswith(_TFDS):
        return data
    os.makedirs(os.path.dirname(os.path.abspath(downloaded)), exist_ok=True)
    tfds.write_folder(data.removeprefix(_TFDS), downloaded)
    return downloaded


def _describe(dataset: Dataset, say: Callable[[str], None]) -> None:
    """Says how the data set was understood, and what is odd about it."""
    for note in dataset.notes:
        say(note)
    for kind, places in fingerprint.by_kind(dataset.findings).items():
        what, done = REPAIRS[kind]
        say(f"{what} ({len(places)}): {done}; the first is {places[0]}")


def _arguments(data: str, output: str, options: Options, device: str) -> dict[str, Any]:
    """Returns what the result depends on."""
    values = dataclasses.asdict(options)
    values["writing"].pop("num_workers")
    values["reading"].pop("num_workers")
    values.pop("overwrite")
    return plan_arguments.describe(values, data, options.lists, device, output)


def _is_there(output: str, arguments: dict[str, Any], overwrite: bool) -> bool:
    """Returns whether a folder has the result of the same arguments.

    Raises:
      ValueError: it has something else, and may not be replaced.
    """
    if not os.path.lexists(output):
        return False
    if not os.path.isdir(output):
        raise ValueError(f"--output={output} is a file; choose another name")
    names = sorted(os.listdir(output))
    others = [name for name in names if not _OWN_FILES.fullmatch(name)]
    if others:
        raise ValueError(f"{output} has `{others[0]}`, which is no part of a plan; move it away, or choose another --output")
    if not names or overwrite:
        return False
    different = plan_arguments.find_differences(os.path.join(output, experiments.FINGERPRINT_FILE), arguments)
    if not different:
        return True
    raise ValueError(f"{output} exists already, but {different}; replace it with --overwrite, or choose another --output")


def _read(data: str, options: Options) -> Dataset:
    if not os.path.isdir(data):
        raise ValueError(f"--data={data} is no folder")
    dataset = classes.choose(detection.read_dataset(data, options.format_name, options.reading), options.chosen)
    if options.lists:
        return splits.read_lists(dataset, options.lists)
    found = splits.find_classes(dataset, options.writing.num_workers)
    return splits.split(dataset, options.splitting, found)


def _fill(
    building: str,
    output: str,
    dataset: Dataset,
    options: Options,
    device: Device,
    arguments: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    """Writes everything into a folder that gets its name later."""
    lists = os.path.join(building, SPLITS_FOLDER)
    os.makedirs(lists)
    splits.write_lists(dataset, lists)
    written = conversion.write(dataset, building, options.writing)
    for split, summary in written.summaries.items():
        say(f"{split}: {conversion.describe(summary)}")
    content = Fingerprint(
        dataset.kind,
        tuple(dataset.class_names),
        tuple(written.images),
        written.num_bytes,
        options.writing.num_channels,
        max(summary.get("most_crowds", 0) for summary in written.summaries.values()),
    )
    problems = audit.find_problems(content)
    for problem in problems[:_PRINTED]:
        say(f"warning: {problem.what}" + (f"; for instance {problem.images[0]}" if problem.images else ""))
    if len(problems) > _PRINTED:
        say(f"warning: {len(problems) - _PRINTED} more are in {report.FILE}")
    described = {
        "format": dataset.format,
        **fingerprint.as_json(content, arguments, written.findings, dataset.notes),
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }
    files.write_json(os.path.join(building, experiments.FINGERPRINT_FILE), described)
    choices = _write_experiment(building, output, content, device, options.budget_seconds, say)
    report.write(
        os.path.join(building, report.FILE),
        f"{os.path.basename(output)} ({dataset.format})",
        dataset.notes,
        content,
        choices,
        experiments.load(os.path.join(building, experiments.PLAN_FILE)).config.task.model.input_size,
        problems,
        fingerprint.by_kind(written.findings),
        [os.path.join(building, name) for name in written.summaries[TRAIN]["shards"]],
    )


def _write_experiment(
    building: str, output: str, content: Fingerprint, device: Device, budget_seconds: int, say: Callable[[str], None]
) -> list[Choice]:
    """Writes and prints the experiment; returns its values."""
    path, inputs = os.path.join(building, experiments.PLAN_FILE), _inputs(output, content)

    def write(planned: Selected) -> str:
        heading, extends = _heading(output, content, planned.expected), (planned.level.experiment, planned.level.reason)
        files.write_text(path, experiment_file.render(heading, extends, [*planned.choices, *inputs]))
        return path

    planned = selection.select(content, device, budget_seconds, write, say)
    config = experiments.load(write(planned)).config
    choices = [*planned.choices, *inputs]
    say(f"extends {planned.level.experiment} ({planned.level.reason})")
    for choice in choices:
        say(f"  {choice.path}: {choice.value}  ({choice.reason})")
    if content.kind == INSTANCES:
        before, after = (experiment_file.anchor_recalls(content, each) for each in (planned.base, config))
        for iou, share in after.items():
            say(f"anchor recall at IoU {iou:g}: {share:.1%} of the objects, {before[iou]:.1%} with {planned.level.experiment}")
    if planned.expected:
        say(f"expected: {planned.expected}")
    return choices


def _inputs(output: str, content: Fingerprint) -> list[Choice]:
    return [
        Choice(f"task.{place}.input_path", _pattern(output, split), format_count(content.num_images(split), "image"))
        for place, split in (("train_data", TRAIN), ("validation_data", VAL))
    ]


def _heading(output: str, content: Fingerprint, expected: str) -> list[str]:
    num_train, num_val = (content.num_images(split) for split in (TRAIN, VAL))
    return [
        f"{os.path.basename(output)}: planned from {format_count(num_train, 'training image')} and {num_val} for validation.",
        "Every value has its reason; docs/plan.md describes the rules. All other values are those of the extended experiment.",
        "",
        f"command:   python official/train.py --experiment={os.path.join(output, experiments.PLAN_FILE)}",
        *([f"expected:  {expected}"] if expected else []),
    ]


def _pattern(output: str, split: str) -> str:
    """Returns the pattern of the records of a split, below the default data directory if they are there."""
    folder, name = os.path.split(os.path.abspath(output))
    records = f"{split}-*.tfrecord"
    is_default = folder == os.path.abspath(_DATA_DIR)
    return os.path.join(name, records) if is_default else os.path.join(folder, name, records)


def _replace(building: str, output: str) -> None:
    """Gives a complete folder its name; an earlier plan of that name is removed then."""
    before = files.temporary_name(output, "old")
    if os.path.lexists(output):
        os.rename(output, before)
    try:
        os.rename(building, output)
    except OSError:
        if os.path.lexists(before):
            os.rename(before, output)
        raise
    shutil.rmtree(before, ignore_errors=True)
