"""The interface of an architecture's predictions: preparing images, processing outputs, and drawing and writing the results."""

import abc
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tpuseg.ops.windows import Grid
from tpuseg.training.tile_merging import TileMerger
from tpuseg.visualization import drawing, page


class MapFeature(NamedTuple):
    """An object for a map.

    Attributes:
      mask: [h, w] bool, the object in a part of the image.
      top: row of the image where this part begins.
      left: column of the image where this part begins.
      properties: Values that describe the object.
    """

    mask: np.ndarray
    top: int
    left: int
    properties: dict[str, Any]


class Predictions(abc.ABC):
    """The processing of images before the network and of its outputs after it.

    Attributes:
      detects_objects: Whether predictions are objects, for which `map_features` and `results` are defined.
    """

    detects_objects = False

    @abc.abstractmethod
    def inputs(self, images: list[np.ndarray]) -> dict[str, tf.Tensor]:
        """Returns the input of `SegmentationTask.validation_step` for a few images.

        Args:
          images: [height, width, C] uint8 images, which can have different sizes.
        """

    @abc.abstractmethod
    def finish(self, outputs: dict[str, np.ndarray], images: list[np.ndarray]) -> list[Any]:
        """Returns the prediction of each image at the image's size.

        Args:
          outputs: Outputs of `SegmentationTask.validation_step`.
          images: The images that were passed to `inputs`.
        """

    def merger(self, grid: Grid) -> TileMerger:
        """Returns an object that combines the outputs for the windows of an image to its prediction.

        Args:
          grid: The windows.

        Raises:
          ValueError: The architecture does not support windows; this is the default.
        """
        del grid
        raise ValueError(f"{type(self).__module__} does not support tiles; predict without them")

    def resize(self, prediction: Any, size: tuple[int, int]) -> Any:
        """Returns a prediction for its image at another size, with which large images are drawn.

        Args:
          prediction: The prediction of one image.
          size: (height, width) in pixels.
        """
        raise NotImplementedError

    def map_features(self, prediction: Any) -> Iterator[MapFeature]:
        """Yields the objects of a prediction that was merged from windows; none for architectures that do not detect objects."""
        del prediction
        yield from ()

    @abc.abstractmethod
    def draw(self, prediction: Any, image: np.ndarray) -> np.ndarray:
        """Draws a prediction over its image, [H, W, 3] uint8; the result may be larger than the image."""

    def write(self, prediction: Any, image: np.ndarray, stem: str) -> np.ndarray:
        """Writes a prediction as files: the overlay, and those of `write_files`.

        Args:
          prediction: The prediction of one image.
          image: [height, width, C] uint8.
          stem: Common beginning of the paths; `_overlay.png` is appended for the overlay.

        Returns:
          [H, W, 3] uint8, the content of `_overlay.png`.
        """
        self.write_files(prediction, stem)
        drawn = self.draw(prediction, image)
        drawing.write_png(f"{stem}_overlay.png", drawn)
        return drawn

    def write_files(self, prediction: Any, stem: str) -> None:  # noqa: B027  # Objects need no other files.
        """Writes the files of a prediction other than its overlay; none by default.

        Args:
          prediction: The prediction of one image.
          stem: Common beginning of the paths.
        """

    @abc.abstractmethod
    def findings(self, prediction: Any) -> list[page.Finding]:
        """Describes a prediction in lines of text with the colours of `draw`."""

    def results(self, prediction: Any, image_id: int | str) -> list[dict[str, Any]]:
        """Converts a prediction to rows of COCO's results format; empty for architectures that do not detect objects.

        Args:
          prediction: The prediction of one image.
          image_id: COCO's id of the image.
        """
        del prediction, image_id
        return []
