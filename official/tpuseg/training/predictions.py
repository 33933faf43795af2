"""From images to an architecture's predictions at their own size, and from predictions to what people and programs read."""

import abc
from typing import Any

import numpy as np
import tensorflow as tf

from tpuseg.visualization import drawing, page


class Predictions(abc.ABC):
    """What surrounds the network in prediction."""

    @abc.abstractmethod
    def inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """Returns the input of `SegmentationTask.validation_step` for a few images.

        Args:
          images: [height, width, C] uint8, each of its own size.
        """

    @abc.abstractmethod
    def finish(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[Any]:
        """Returns the prediction of each image at its own size.

        Args:
          outputs: Outputs of `SegmentationTask.validation_step`.
          images: The images that `inputs` was given.
        """

    @abc.abstractmethod
    def draw(self, prediction: Any, image: np.ndarray) -> np.ndarray:
        """Returns a prediction drawn over its image, [H, W, 3] uint8; may be larger than the image."""

    def write(self, prediction: Any, image: np.ndarray, stem: str) -> np.ndarray:
        """Writes a prediction as files.

        Args:
          prediction: The prediction of one image.
          image: [height, width, C] uint8.
          stem: Path with which all file names begin: `_overlay.png` is appended, and whatever a subclass adds.

        Returns:
          [H, W, 3] uint8, the content of `_overlay.png`.
        """
        drawn = self.draw(prediction, image)
        drawing.write_png(f"{stem}_overlay.png", drawn)
        return drawn

    @abc.abstractmethod
    def findings(self, prediction: Any) -> list[page.Finding]:
        """Returns a prediction as lines for people, in the colours of `draw`."""

    def results(self, prediction: Any, image_id: int | str) -> list[dict[str, Any]]:
        """Returns a prediction as rows of COCO's results format; none for architectures that find no objects.

        Args:
          prediction: The prediction of one image.
          image_id: COCO's id of the image.
        """
        del prediction, image_id
        return []
