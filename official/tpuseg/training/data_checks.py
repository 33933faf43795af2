"""Checking before the first step whether records fit an experiment."""

from typing import Any

from tpuseg.configs import schema
from tpuseg.data import pipeline
from tpuseg.training.class_lists import ClassList
from tpuseg.utils.messages import format_count

_OTHER_CONVERTER = {
    "semantic": "convert with data/voc_to_tfrecord.py",
    "instances": "convert with data/coco_to_tfrecord.py, or data/voc_to_tfrecord.py --instances",
}


def inputs(config: schema.TaskConfig, train: bool) -> list[schema.DataConfig]:
    """Returns the inputs that are used: those of training and evaluation if `train` is True, otherwise only that of evaluation."""
    return [config.train_data, config.validation_data] if train else [config.validation_data]


def make_generated_data(data: schema.DataConfig, data_dir: str, records_kind: str) -> None:
    """Creates the generated data set if an input uses it and it does not exist yet."""
    if data.generate == "shapes":
        from tpuseg.convert import shapes

        shapes.ensure_records(data_dir, records_kind)


def class_lists_of_records(config: schema.TaskConfig, data: schema.DataConfig, data_dir: str, records_kind: str) -> list[ClassList]:
    """Checks the records of an input against the configuration.

    Args:
      config: The task's configuration.
      data: One of its inputs.
      data_dir: Folder of relative input patterns.
      records_kind: Kind of records on which the architecture is trained, `semantic` or `instances`.

    Returns:
      The classes of the records for each summary that lists them; empty for tensorflow-datasets.

    Raises:
      ValueError: There are no records, they have the other kind or another number of channels, or there is nothing to learn.
    """
    if data.tfds_name:
        return []
    found = pipeline.read_summaries(data, data_dir)
    if data is config.train_data:
        _require_instances(list(found.values()), data)
    for path, summary in found.items():
        _check_num_channels(path, summary, config.model.num_channels)
        kind = summary.get("kind", records_kind)
        if kind != records_kind:
            raise ValueError(
                f"the records of {data.input_path} are of kind `{kind}`, but this model is trained on `{records_kind}` records;"
                f" {_OTHER_CONVERTER[records_kind]}"
            )
    return [ClassList(path, tuple(summary["class_names"])) for path, summary in found.items()]


def _check_num_channels(path: str, summary: dict[str, Any], wanted: int) -> None:
    found = summary.get("num_channels", 3)
    if found != wanted:
        raise ValueError(
            f"task.model.num_channels is {wanted}, but the images of {path} were converted with {format_count(found, 'channel')};"
            f" set task.model.num_channels={found}, or convert them again with --num_channels={wanted}"
        )


def _require_instances(summaries: list[dict[str, Any]], data: schema.DataConfig) -> None:
    """Raises ValueError if training data has no instances according to the summaries."""
    if summaries and all(summary.get("num_objects") == 0 for summary in summaries):
        num_crowds = sum(summary.get("num_crowds", 0) for summary in summaries)
        raise ValueError(
            f"the records of {data.input_path} have 0 instances ({format_count(num_crowds, 'ignored region')}), so there is"
            " nothing to learn; the summary's `findings` list the reasons, and data/coco_to_tfrecord.py has flags for labels that"
            " are left out by default"
        )


def pixel_range_of_records(config: schema.TaskConfig, data_dir: str, train: bool) -> list[float]:
    """Returns the values of black and white with which the records were converted, for images with more than 8 bits.

    Args:
      config: The task's configuration.
      data_dir: Folder of relative input patterns.
      train: Whether the model will be trained.

    Raises:
      ValueError: Records were converted with different values.
    """
    found: dict[tuple[float, ...], str] = {}
    for data in inputs(config, train):
        if not data.tfds_name:
            for path, summary in pipeline.read_summaries(data, data_dir).items():
                if "pixel_range" in summary or "wide_images" in summary:
                    found.setdefault(tuple(summary.get("pixel_range", ())), path)
    if len(found) > 1:
        shown = {path: ",".join(f"{value:g}" for value in values) or "none" for values, path in found.items()}
        different = " and ".join(f"{values} in {path}" for path, values in shown.items())
        raise ValueError(
            f"the records were converted with different values of --pixel_range: {different}; convert all of them with the same"
            " values, or set the values for prediction as task.pixel_range"
        )
    return [value for values in found for value in values]
