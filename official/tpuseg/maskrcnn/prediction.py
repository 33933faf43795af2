"""Detections in pixels of the image, from the outputs of the network on the canvas.

Shapes: D detections, S the side of a box mask, h x w the image.
"""

import dataclasses

import numpy as np

from tpuseg.ops.masks import RunLengths, decode, paste

# Objects that `repr` lists.
_OBJECTS_SHOWN = 5


@dataclasses.dataclass(frozen=True, repr=False)
class Objects:
    """The detections of an image, in the order of decreasing scores.

    Attributes:
      boxes: [D, 4] float32 yxyx boxes in pixels of the image at its original size.
      scores: [D] float32 probabilities.
      classes: [D] int32 class numbers from 0.
      masks: [D, S, S] float32 box masks (probabilities).
      size: (h, w) of the image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        """Returns the number of objects."""
        return len(self.scores)

    def __repr__(self) -> str:
        """Returns for example `<2 objects in 480x640 pixels: class 0 at 0.98, class 3 at 0.71>`."""
        found = zip(self.classes[:_OBJECTS_SHOWN].tolist(), self.scores[:_OBJECTS_SHOWN].tolist(), strict=True)
        listed = ", ".join(f"class {number} at {score:.2f}" for number, score in found) + ", ..." * (len(self) > _OBJECTS_SHOWN)
        height, width = self.size
        return f"<{len(self)} object{'s' * (len(self) != 1)} in {height}x{width} pixels{': ' * bool(listed)}{listed}>"

    def runs(self) -> list[RunLengths]:
        """Returns the run lengths of the masks at the image's size."""
        return paste(self.masks, self.boxes, self.size).runs

    def pixels(self) -> np.ndarray:
        """Returns the masks at the image's size, [D, h, w] bool."""
        return np.array([decode(runs) for runs in self.runs()], bool).reshape(-1, *self.size)

    def above(self, score: float) -> "Objects":
        """Returns the objects whose score is at least `score`."""
        return self.take(self.scores >= score)

    def take(self, rows: np.ndarray) -> "Objects":
        """Returns some of the objects.

        Args:
          rows: indices, or [D] bool.
        """
        return Objects(self.boxes[rows], self.scores[rows], self.classes[rows], self.masks[rows], self.size)


def scale_to_image(outputs: dict[str, np.ndarray], row: int, size: tuple[int, int]) -> Objects:
    """Returns the detections of one image of a batch, scaled to the image's original size.

    Args:
      outputs: the outputs of `Task.validation_step`.
      row: index of the image in the batch.
      size: original (h, w) of the image.
    """
    valid = outputs["valid"][row]
    factor = np.array(size, np.float32) / outputs["image_size"][row]
    boxes = outputs["boxes"][row][valid] * np.tile(factor, 2)
    boxes = np.clip(boxes, 0, np.tile(np.array(size, np.float32), 2))
    return Objects(boxes, outputs["scores"][row][valid], outputs["classes"][row][valid], outputs["masks"][row][valid], size)
