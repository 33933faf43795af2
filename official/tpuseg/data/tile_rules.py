"""The rules by which converters cut large images into windows.

Programs and worker processes import this module, so it does not import TensorFlow.
"""

import dataclasses

from tpuseg.ops import windows


@dataclasses.dataclass(frozen=True)
class TileRules:
    """How images that are larger than a window are written.

    Attributes:
      size: side of a window in pixels; 0 writes every image as a whole.
      overlap: smallest part of a side that neighbouring windows share, see `windows.Tiling`.
      min_visible: an object of which a window shows a smaller part of the mask is an ignored region of this window. The class of an
        object can often not be recognized from less than a third of it, and the overlap gives a better view of small objects.
      empty_share: at most this part of the windows has no instance. Large images are often nearly empty, and the windows with
        instances contain background too, so a tenth is enough for structures that only occur far from instances.

    Raises:
      ValueError: a value is out of range.
    """

    size: int = 0
    overlap: float = windows.OVERLAP
    min_visible: float = 0.3
    empty_share: float = 0.1

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.size:
            windows.Tiling(self.size, self.overlap)
        for name, share in (("min_visible", self.min_visible), ("empty_share", self.empty_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"--tile_{name} is {share:g}, but must be from 0 to 1")

    def cuts(self, size: tuple[int, int]) -> bool:
        """Returns whether an image of this height and width is cut into windows."""
        return self.size > 0 and max(size) > self.size

    def grid(self, size: tuple[int, int]) -> windows.Grid:
        """Returns the windows of an image of this height and width."""
        return windows.Grid(size, windows.Tiling(self.size, self.overlap))


WHOLE_IMAGES = TileRules()
