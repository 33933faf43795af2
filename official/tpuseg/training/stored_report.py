"""Reports and comparisons of evaluations from their stored predictions, without the network."""

import os
from collections.abc import Sequence

from tpuseg import registry
from tpuseg.configs import experiments, schema
from tpuseg.io.checkpoints import Results
from tpuseg.training import run_directory
from tpuseg.training.evaluation import Evaluation
from tpuseg.training.task import SegmentationTask


def write(model_dir: str, data_dir: str, detections: str, folder: str) -> str:
    """Writes the report of a run.

    Args:
      model_dir: the run's model directory.
      data_dir: folder of relative input patterns.
      detections: file of predictions; that of the run's last evaluation if empty.
      folder: folder of the page.

    Returns:
      The path of the page.

    Raises:
      ValueError: the folder is not a run, the architecture stores no predictions or has no report, or the file does not fit.
      OSError: a file cannot be read or written.
    """
    config = experiments.load(run_directory.config_path(model_dir)).config
    evaluation = _read_evaluation(config, model_dir, data_dir, detections, folder)
    path = evaluation.write_report(Results(model_dir).rows)
    if path is None:
        raise ValueError(f"{config.architecture} has no report")
    return path


def write_comparison(model_dirs: Sequence[str], data_dir: str, folder: str) -> str:
    """Writes a page that compares the last evaluations of several runs on the same records.

    Args:
      model_dirs: the runs' model directories; differences are those to the first one.
      data_dir: folder of relative input patterns.
      folder: folder of the page.

    Returns:
      The path of the page.

    Raises:
      ValueError: a folder is not a run, or the runs have other architectures, images or classes.
      OSError: a file cannot be read or written.
    """
    configs = [experiments.load(run_directory.config_path(model_dir)).config for model_dir in model_dirs]
    architectures = {config.architecture for config in configs}
    if len(architectures) > 1:
        raise ValueError(f"the runs have the architectures {' and '.join(sorted(architectures))}, which cannot be compared")
    pairs = zip(configs, model_dirs, strict=True)
    first, *others = (_read_evaluation(config, model_dir, data_dir, "", folder) for config, model_dir in pairs)
    return first.write_comparison(_name_runs(model_dirs), others, [config.as_dict() for config in configs])


def _name_runs(model_dirs: Sequence[str]) -> list[str]:
    """Returns the names of the folders, or their paths if names occur twice."""
    names = [os.path.basename(os.path.normpath(model_dir)) for model_dir in model_dirs]
    return names if len(set(names)) == len(names) else list(model_dirs)


def _read_evaluation(
    config: schema.ExperimentConfig, model_dir: str, data_dir: str, detections: str, folder: str
) -> Evaluation:
    task: SegmentationTask = registry.architectures.get(config.architecture).task_class(
        config.task, logging_dir=model_dir, data_dir=data_dir
    )
    task.prepare_data(train=False)
    evaluation = task.begin_evaluation()
    evaluation.start_report(folder)
    evaluation.read_predictions(detections or model_dir)
    return evaluation
