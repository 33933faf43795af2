"""Another library's weights as a checkpoint of this project: a model directory that predicts, evaluates, and trains on."""

import os

import tensorflow as tf

from tpuseg import registry, weights
from tpuseg.configs import experiments
from tpuseg.io import checkpoints
from tpuseg.training import run_directory
from tpuseg.training.task import SegmentationTask
from tpuseg.training.trainer import moving_average, start_average
from tpuseg.utils.messages import format_count
from tpuseg.weights import own
from tpuseg.weights.report import Report


def run(
    experiment: experiments.Experiment,
    kind: str,
    source: str,
    output: str,
    data_dir: str,
    class_names: list[str],
    map_classes: bool,
) -> Report:
    """Writes the checkpoint.

    Args:
      experiment: the experiment whose model gets the weights.
      kind: one of `weights.kinds()`.
      source: the file or checkpoint.
      output: folder of the checkpoint; it also gets the configuration and the classes' names, as a run's model directory.
      data_dir: where relative input patterns start; their records tell the classes' names.
      class_names: names of the model's classes, if they differ from those of the records.
      map_classes: keeps the classifier's rows of classes with equal names.

    Returns:
      What was restored and what was not.

    Raises:
      ValueError: the weights do not fit, there are other checkpoints in the folder, or no names to map classes by.
    """
    weights.require_known(source, kind)
    _require_empty(output)
    settings = experiment.config
    # Without the folder: what an earlier import left there says nothing about this one's classes.
    task: SegmentationTask = registry.architectures.get(settings.architecture).task_class(settings.task, data_dir=data_dir)
    if class_names:
        task.classes.set_names(_checked(class_names, settings.task.model.num_classes))
    names = _names_to_map(task) if map_classes else None
    model = task.build_model()
    report = weights.load_initial(model, source, settings.task.model, kind, names)
    if report.class_names and not task.classes.have_names:
        task.classes.set_names([name or str(number) for number, name in enumerate(report.class_names)])
    optimizer = task.create_optimizer(settings.trainer.optimizer_config, settings.runtime)
    average = moving_average(optimizer)
    if average is not None:
        average.shadow_copy(model)
        start_average(average)
    checkpoint = tf.train.Checkpoint(
        # What a run's checkpoints have, so that evaluation and training take this one for the first of theirs.
        global_step=tf.Variable(0, trainable=False, dtype=tf.int64),
        model=model,
        optimizer=optimizer,
        weights_record=own.record(report, settings.task.model),
    )
    checkpoints.save(checkpoint, output, 0)
    run_directory.write_config(settings, output)
    task.classes.write(output)
    return report


def use(report: Report, folder: str) -> str:
    """Returns what the checkpoint in a folder can be used for, as a line for people.

    Args:
      report: what became of the weights that it was made of.
      folder: folder of the checkpoint.
    """
    line = f"use it with --params_override=task.init_checkpoint={folder}"
    if not report.skipped:
        return f"{line}, or directly with --model_dir={folder}"
    parts = sorted({layer.partition("/")[0] for layer, _ in report.skipped if layer not in report.class_layers})
    if parts:
        return f"{line}; it is not a trained model: {', '.join(parts)} {'has' if len(parts) == 1 else 'have'} random weights"
    return f"{line}; its classifier has random weights and must be trained, the rest is complete"


def _require_empty(output: str) -> None:
    """Raises ValueError if a folder has checkpoints that an import did not write: its latest one would be ours."""
    others = [path for path in checkpoints.list_checkpoints(output) if checkpoints.step_of(path) != 0]
    if others:
        raise ValueError(f"--output={output} is the model directory of a run ({os.path.basename(others[-1])}); choose another one")


def _checked(class_names: list[str], num_classes: int) -> list[str]:
    if len(class_names) != num_classes:
        raise ValueError(f"--class_names has {format_count(len(class_names), 'name')}, but task.model.num_classes is {num_classes}")
    return class_names


def _names_to_map(task: SegmentationTask) -> list[str]:
    if not task.classes.have_names:
        raise ValueError(
            "--map_classes: the names of the experiment's classes are not known; give --class_names=a,b,c, or --data_dir with its"
            " records"
        )
    return list(task.classes.names)
