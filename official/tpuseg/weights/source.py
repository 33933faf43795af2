"""A source of weights of another package: how its files are recognised and read."""

import abc
from typing import ClassVar

from tpuseg.weights.external import ExternalWeights


class WeightSource(abc.ABC):
    """Files of one origin; registered in `registry.weight_sources`, whose name `import_weights.py --source=` takes.

    Attributes:
      endings: Endings of the files' names, `(".npz",)`.
    """

    endings: ClassVar[tuple[str, ...]]

    def recognizes(self, path: str) -> bool:
        """Returns whether a file is of this source; by default, whether its name has one of the endings.

        Args:
          path: A file or a checkpoint.
        """
        return path.endswith(self.endings)

    @abc.abstractmethod
    def read(self, path: str) -> ExternalWeights:
        """Reads a file.

        Args:
          path: The file.

        Returns:
          The weights under the names and in the layouts of this project's checkpoints; docs/extending.md has an example.

        Raises:
          ValueError: the file is damaged or not of this kind; the message names the file.
        """
