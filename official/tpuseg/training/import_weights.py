"""Converting another library's weights to a checkpoint of this project, for prediction, evaluation and training."""

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
    """Loads the weights into an experiment's model and writes a checkpoint.

    Args:
      experiment: the experiment whose model receives the weights.
      kind: kind of the weights, one of `weights.kinds()`.
      source: path of the file or checkpoint with the weights.
      output: folder of the checkpoint; the configuration and the class names are written to it too, as in a model directory.
      data_dir: folder of relative input patterns; the class names are read from the records.
      class_names: names of the model's classes, if they differ from those of the records.
      map_classes: whether the classifier's rows of classes with equal names are kept.

    Returns:
      A report about restored and skipped weights.

    Raises:
      ValueError: the weights do not fit, the folder contains other checkpoints, or the names for mapping classes are unknown.
    """
    weights.require_known(source, kind)
    _require_empty(output)
    settings = experiment.config
    # The task is created without the folder, because the class names of an earlier import must not be used.
    task: SegmentationTask = registry.architectures.get(settings.architecture).task_class(settings.task, data_dir=data_dir)
    if class_names:
        task.classes.set_names(_check_class_names(class_names, settings.task.model.num_classes))
    names = _require_class_names(task) if map_classes else None
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
        # The same objects as in a run's checkpoints, so that evaluation and training can use this one like the first of a run.
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
    """Returns a line that describes how the checkpoint in a folder can be used.

    Args:
      report: report about restored and skipped weights.
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
    """Raises ValueError if a folder has checkpoints of a run, because the import would add an older one."""
    others = [path for path in checkpoints.list_checkpoints(output) if checkpoints.step_of(path) != 0]
    if others:
        raise ValueError(f"--output={output} is the model directory of a run ({os.path.basename(others[-1])}); choose another one")


def _check_class_names(class_names: list[str], num_classes: int) -> list[str]:
    if len(class_names) != num_classes:
        raise ValueError(f"--class_names has {format_count(len(class_names), 'name')}, but task.model.num_classes is {num_classes}")
    return class_names


def _require_class_names(task: SegmentationTask) -> list[str]:
    if not task.classes.have_names:
        raise ValueError(
            "--map_classes: the names of the experiment's classes are not known; give --class_names=a,b,c, or --data_dir with its"
            " records"
        )
    return list(task.classes.names)
