"""The valid values of settings: a table for each module of configurations, and a function that checks them."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from tpuseg.configs.extensible import Extensible
from tpuseg.utils import messages

# The largest number of TensorFlow's int32.
_LARGEST_WHOLE = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers.

    Attributes:
      low: lower limit.
      high: upper limit.
      above: whether numbers must be above `low`, which itself is not allowed.
      below: whether numbers must be below `high`, which itself is not allowed.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        if (self.above and value == self.low) or (self.below and value == self.high):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if not (self.above or self.below) and math.inf not in (-self.low, self.high):
            return f"between {self.low:g} and {self.high:g}"
        parts = [f"{'above' if self.above else 'at least'} {self.low:g}"] * (self.low > -math.inf)
        parts += [f"{'below' if self.below else 'at most'} {self.high:g}"] * (self.high < math.inf)
        return " and ".join(parts)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A set of valid numbers or words; the empty word stands for the default."""

    values: tuple[int | str, ...]

    def __contains__(self, value: float | str) -> bool:
        return value in self.values

    def __str__(self) -> str:
        *others, last = (str(value) for value in self.values if value != "")
        return f"{', '.join(others)} or {last}" if others else last


def at_least(low: float) -> Range:
    """Returns the range of `low` and every larger number."""
    return Range(low)


def between(low: float, high: float) -> Range:
    """Returns the range from `low` to `high`, including both."""
    return Range(low, high)


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
FRACTION = Range(0, 1)
# For momenta and dropout rates: with 1, a moving average would never change, or everything would be dropped.
BELOW_ONE = Range(0, 1, below=True)
COUNT = Range(1)
RATE = Range(0, 1000)
EPSILON = Range(0, 1, above=True)

# Class of configurations -> field -> range. For lists it is the range of each item.
Table = Mapping[type, Mapping[str, Range | Choice]]

# Fields of the Model Garden's optimizers and schedules; a name with a class has precedence over one without.
OPTIMIZERS: Mapping[str, Range] = {
    "learning_rate": RATE,
    "initial_learning_rate": RATE,
    "end_learning_rate": RATE,
    "warmup_learning_rate": RATE,
    "sparse_layer_learning_rate": RATE,
    "pre_offset_learning_rate": NOT_NEGATIVE,
    "values": RATE,
    "boundaries": COUNT,
    "decay_steps": COUNT,
    "total_decay_steps": COUNT,
    "warmup_steps": NOT_NEGATIVE,
    "offset": NOT_NEGATIVE,
    "start_step": NOT_NEGATIVE,
    "step_offset": NOT_NEGATIVE,
    "decay_rate": POSITIVE,
    "linear_decay_fraction": EPSILON,
    "alpha": FRACTION,
    "power": NOT_NEGATIVE,
    "DirectPowerLrConfig.power": between(-10, 10),
    "PowerAndLinearDecayLrConfig.power": between(-10, 10),
    "PowerDecayWithOffsetLrConfig.power": between(-10, 10),
    "clipnorm": POSITIVE,
    "clipvalue": POSITIVE,
    "global_clipnorm": POSITIVE,
    "gradient_clip_norm": NOT_NEGATIVE,
    "clipping_threshold": POSITIVE,
    "clip_threshold": POSITIVE,
    "ratio_clip_norm": POSITIVE,
    "momentum": BELOW_ONE,
    "rho": BELOW_ONE,
    "beta_1": BELOW_ONE,
    "beta_2": BELOW_ONE,
    "beta1": BELOW_ONE,
    "beta_2_decay": between(-1, 0),
    "average_decay": BELOW_ONE,
    "epsilon": EPSILON,
    "epsilon1": EPSILON,
    "epsilon2": EPSILON,
    "epsilon_1": EPSILON,
    "epsilon_2": EPSILON,
    "decay": FRACTION,
    "weight_decay": FRACTION,
    "weight_decay_rate": FRACTION,
    "initial_accumulator_value": NOT_NEGATIVE,
    "eeta": NOT_NEGATIVE,
    "min_dim_size_to_factor": COUNT,
}


def find(cls: type, field: str, table: Table) -> Range | Choice | None:
    """Returns the range of a field of a configuration class; None if no table has it."""
    for parent in cls.__mro__:
        if field in table.get(parent, {}):
            return table[parent][field]
    if any(parent.__module__.startswith("official.modeling.optimization") for parent in cls.__mro__):
        return OPTIMIZERS.get(f"{cls.__name__}.{field}", OPTIMIZERS.get(field))
    return None


def problems(config: Any, table: Table, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields (path, message) for every number or word of a configuration that it cannot be.

    Args:
      config: the configuration, including nested ones.
      table: the ranges of all configuration classes except the Model Garden's.
      prefix: prefix of the paths.
    """
    added = config.added_values() if isinstance(config, Extensible) else {}
    for name in (*(field.name for field in dataclasses.fields(config)), *added):
        value = getattr(config, name)
        path = f"{prefix}{name}"
        if dataclasses.is_dataclass(value):
            yield from problems(value, table, f"{path}.")
            continue
        allowed = find(type(config), name, table)
        is_list = isinstance(value, list | tuple)
        for number, item in enumerate(value if is_list else [value]):
            message = _problem(item, allowed)
            if message:
                yield f"{path}[{number}]" if is_list else path, message


def _problem(value: object, allowed: Range | Choice | None) -> str | None:
    if isinstance(value, str) and isinstance(allowed, Choice):
        words = ", ".join(str(word) for word in allowed.values if word != "")
        return None if value in allowed else f"`{messages.shorten(value)}` is not one of {words}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if allowed is not None and value not in allowed:
        return f"is {value}, but must be {allowed}"
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        return f"is {value}, but must be at most {_LARGEST_WHOLE}"
    return None
