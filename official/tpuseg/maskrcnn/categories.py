"""The classes of a run with COCO's category ids, which results and `categories.json` have."""

import dataclasses
import functools
import os
from typing import Any

from tpuseg.configs import schema
from tpuseg.data import pipeline, summaries
from tpuseg.data.examples import Category
from tpuseg.io import files
from tpuseg.training.run_classes import RunClasses
from tpuseg.weights import coco_classes

CATEGORIES_FILE = "categories.json"


class RunCategories(RunClasses):
    """Names and ids of a run's classes."""

    def __init__(self, config: schema.TaskConfig, model_dir: str, data_dir: str) -> None:
        """Reads nothing yet; arguments as in `RunClasses`."""
        super().__init__(config, model_dir, data_dir, "instances")

    @functools.cached_property
    def categories(self) -> list[Category]:
        """The data set's ids and names of the classes, in the order of the classes."""
        written = os.path.join(self.model_dir, CATEGORIES_FILE)
        rows = summaries.read_categories(written) if self.model_dir and files.exists(written) else []
        if [row["name"] for row in rows] != self.names:  # The folder has those of an earlier run.
            rows = self._categories_of_data()
        return [Category(row["id"], row["name"]) for row in rows] or [
            Category(number, name) for number, name in enumerate(self.names, start=1)
        ]

    def _categories_of_data(self) -> list[dict[str, Any]]:
        for data in (self.config.train_data, self.config.validation_data):
            summary = pipeline.read_summary(data, self.data_dir)
            if summary and "categories" in summary:
                return list(summary["categories"])
        return []

    def use_names_of_data(self) -> None:
        """See `RunClasses`."""
        super().use_names_of_data()
        rows = self._categories_of_data()
        if rows:
            self.categories = [Category(row["id"], row["name"]) for row in rows]

    def set_names(self, names: list[str]) -> None:
        """See `RunClasses`; if all names are COCO's, the ids are COCO's too."""
        super().set_names(names)
        self.categories = [Category(number, name) for number, name in zip(coco_classes.ids_of(names), names, strict=True)]

    def write(self, folder: str = "") -> None:
        """Writes names and ids; see `RunClasses`."""
        super().write(folder)
        rows = [dataclasses.asdict(category) for category in self.categories]
        files.write_json(os.path.join(folder or self.model_dir, CATEGORIES_FILE), rows)
