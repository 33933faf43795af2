"""Which layers of a network have values for every class, so that weights of other classes are matched class by class."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ClassLayer:
    """A layer whose last axis has the classes.

    Attributes:
      values_per_class: Number of neighbouring values of the last axis that belong to one class.
      has_background: Whether the values of the background follow those of the last class.
    """

    values_per_class: int = 1
    has_background: bool = False
