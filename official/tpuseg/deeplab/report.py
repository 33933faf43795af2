"""The evaluation report of a semantic model, collected image by image during an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tpuseg.data import records
from tpuseg.deeplab.inputs import Truth
from tpuseg.report import semantic, thumbnails, writing


class ReportCollector:
    """The images of an evaluation for its report; the files of an image are written when it is added."""

    def __init__(self, folder: str, class_names: Sequence[str], ignore_label: int) -> None:
        """Starts without images.

        Args:
          folder: Folder of the report.
          class_names: Names of the classes.
          ignore_label: Label of ignored pixels.
        """
        self._folder = folder
        self._ignore_label = ignore_label
        self._images: dict[int, str] = {}
        self._layers: dict[int, dict[str, str]] = {}
        self._analysis = semantic.SemanticAnalysis(
            class_names, ignore_label, self._images.__getitem__, self._layers.__getitem__
        )

    def add(self, truth: Truth, predicted: np.ndarray, confidence: np.ndarray | None) -> None:
        """Adds one image.

        Args:
          truth: The image and its labels.
          predicted: [height, width] uint8 class ids.
          confidence: [height, width] confidence of the predicted class, 0 to 1; None if it is unknown.
        """
        wrong = (truth.labels != predicted) & (truth.labels != self._ignore_label)
        # Not decoded if the file exists already.
        content = records.to_image_file(truth.encoded_image, truth.num_channels)
        self._images[truth.index] = thumbnails.write_thumbnail(content, self._folder, truth.source_id)
        self._layers[truth.index] = {
            "truth": thumbnails.write_class_map(truth.labels, self._folder),
            "prediction": thumbnails.write_class_map(predicted, self._folder),
            "errors": thumbnails.write_error_map(wrong, self._folder),
        }
        self._analysis.add(truth.index, truth.source_id, truth.labels, predicted, confidence)

    def write(self, evaluations: Sequence[Mapping[str, Any]] = ()) -> str:
        """Writes the report of all images; returns the path of the page.

        Args:
          evaluations: Metrics of the run's evaluations, the earliest first.
        """
        return writing.write(self._analysis.report(context=semantic.Context(evaluations)), self._folder)
