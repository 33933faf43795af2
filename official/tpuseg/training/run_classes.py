"""The names of a run's classes, and comparing them with those of data and initial weights."""

import functools
import os

from tpuseg.configs import schema
from tpuseg.data import pipeline
from tpuseg.io import files
from tpuseg.training import class_lists
from tpuseg.training.class_lists import CLASS_NAMES_FILE, ClassList
from tpuseg.utils.messages import format_count

# How to resolve a different order of the same classes in several inputs, by the kind of records.
_SAME_ORDER = {
    "semantic": "convert all with the same --class_names or --labelmap",
    "instances": "give all annotation files the same categories with the same ids, whose order counts, and convert them again",
}


class RunClasses:
    """The classes of a run."""

    def __init__(self, config: schema.TaskConfig, model_dir: str, data_dir: str, records_kind: str) -> None:
        """Creates the object without reading files.

        Args:
          config: The task's configuration.
          model_dir: The run's model directory; empty if there is none.
          data_dir: Folder of relative input patterns.
          records_kind: `semantic` or `instances`.
        """
        self.config = config
        self.model_dir = model_dir
        self.data_dir = data_dir
        self._same_order = _SAME_ORDER[records_kind]
        self._of_data: list[ClassList] = []

    @functools.cached_property
    def names(self) -> list[str]:
        """The names with which the run was trained; otherwise those of the records' summary; otherwise numbers."""
        trained = class_lists.of_run(self.model_dir)
        if trained and trained.is_known:
            return list(trained.names)
        for data in (self.config.train_data, self.config.validation_data):
            summary = None if data.tfds_name else pipeline.read_summary(data, self.data_dir)
            if summary:
                return list(summary["class_names"])
        return list(trained.names) if trained else self._number_classes()

    def _number_classes(self) -> list[str]:
        return [str(number) for number in range(self.config.model.num_classes)]

    @property
    def have_names(self) -> bool:
        """Whether the names are known; otherwise numbers are used instead."""
        return self.names != self._number_classes()

    def set_names(self, names: list[str]) -> None:
        """Sets the names if no records contain them."""
        self.names = names

    def write(self, folder: str = "") -> None:
        """Writes the names into a folder, the model directory by default; prediction reads them there."""
        files.write_json(os.path.join(folder or self.model_dir, CLASS_NAMES_FILE), self.names)

    def add_data(self, lists: list[ClassList]) -> None:
        """Adds the classes of the run's inputs.

        Raises:
          ValueError: The inputs have different classes, or another number of classes than the configuration.
        """
        self._of_data += lists
        class_lists.require_same(self._of_data, self._same_order)
        if self._of_data:
            self._check_number(self._of_data[0])

    def _check_number(self, classes: ClassList) -> None:
        num_classes, names = self.config.model.num_classes, classes.names
        if len(names) != num_classes:
            listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise ValueError(
                f"task.model.num_classes is {num_classes}, but the records of {classes.source} have"
                f" {format_count(len(names), 'class', 'classes')} ({listed})"
            )

    def use_names_of_data(self) -> None:
        """Uses the names of the data for a new run, and ignores those that an earlier run wrote into the model directory."""
        if self._of_data:
            self.names = list(self._of_data[0].names)

    def check(self, resumes: bool) -> None:
        """Compares the data's classes with those of the run that is resumed, or of the initial weights of a new run.

        Args:
          resumes: Whether the model directory has checkpoints from which training is resumed.

        Raises:
          ValueError: The classes differ; the message contains the first difference and what to do.
        """
        if resumes:
            self._require(class_lists.of_run(self.model_dir), "this run's classes cannot change: use another --model_dir")
            return
        self.use_names_of_data()
        path = self.config.init_checkpoint
        if path and self.config.init_classifier:
            remedy = "with task.init_classifier=false the layers with one output per class are initialised randomly"
            own = class_lists.beside(path)
            # The classifier of weights with another number of classes is not restored.
            self._require(own if own and len(own.names) == self.config.model.num_classes else None, remedy)

    def _require(self, trained: ClassList | None, remedy: str) -> None:
        """Raises ValueError if the data's classes differ from those of trained weights; None means that they are unknown."""
        if trained and self._of_data:
            class_lists.require_same([trained, self._of_data[0]], f"{self._same_order}; {remedy}")

    def check_evaluated(self, trained: ClassList | None) -> None:
        """Compares the data's classes with those of weights that are evaluated; prints a warning if only the names differ.

        Raises:
          ValueError: The data has the same classes in another order, or another number of classes, so the metrics would be wrong.
        """
        found = class_lists.difference(trained, self._of_data[0]) if trained and self._of_data else None
        if trained and found:
            if not class_lists.is_renamed(trained, self._of_data[0]):
                raise ValueError(f"{found}; {self._same_order}")
            print(f"warning: {found}; classes with the same number are assumed to be the same", flush=True)
