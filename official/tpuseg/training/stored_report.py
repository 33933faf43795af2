"""The report of an evaluation from its stored predictions, without the network."""

from tpuseg import registry
from tpuseg.configs import schema
from tpuseg.io.checkpoints import Results
from tpuseg.training.task import SegmentationTask


def write(config: schema.ExperimentConfig, model_dir: str, data_dir: str, detections: str, folder: str) -> str:
    """Writes the report.

    Args:
      config: configuration of the run.
      model_dir: the run's model directory.
      data_dir: folder of relative input patterns.
      detections: file of predictions; that of the run's last evaluation if empty.
      folder: folder of the page.

    Returns:
      The path of the page.

    Raises:
      ValueError: the architecture stores no predictions or has no report, or the file does not fit the data.
      OSError: a file cannot be read or written.
    """
    task: SegmentationTask = registry.architectures.get(config.architecture).task_class(
        config.task, logging_dir=model_dir, data_dir=data_dir
    )
    task.prepare_data(train=False)
    evaluation = task.begin_evaluation()
    evaluation.start_report(folder)
    evaluation.read_predictions(detections or model_dir)
    path = evaluation.write_report(Results(model_dir).rows)
    if path is None:
        raise ValueError(f"{config.architecture} has no report")
    return path
