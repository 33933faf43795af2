"""Scaling learning rate schedules with the length of the training, unless their length is given together with it."""

from collections.abc import Sequence
from typing import Any

_RATE = ("trainer", "optimizer_config", "learning_rate")
_STEPS = ("trainer", "train_steps")
# Kind of schedule -> the key of its length; lists are the steps at which the rate changes.
_LENGTHS = {
    "polynomial": "decay_steps",
    "cosine": "decay_steps",
    "exponential": "decay_steps",
    "power_linear": "total_decay_steps",
    "stepwise": "boundaries",
    "step_cosine_with_offset": "boundaries",
}


def look_up(values: Any, *keys: str) -> Any:
    """Returns the value at nested keys of dictionaries, or None."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def follow(layers: Sequence[dict[str, Any]], merged: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], str | None]:
    """Scales the schedule with `trainer.train_steps`.

    A schedule without a length lasts for the whole training. If its length was given before `train_steps` was changed, it is scaled
    by the same factor: `decay_steps` 900 of 1000 steps become 1800 of 2000, and boundaries at 60 % stay at 60 %. A length that is
    given in the same layer as `train_steps`, or in a later one, is not changed, and neither is the warm-up.

    Args:
      layers: values of the experiment's files, additional files and overrides; later ones have precedence.
      merged: for each layer, the merged values of it and all layers before.

    Returns:
      Values that override all layers, and a note about the change, or None.
    """
    kind, steps = look_up(merged[-1], *_RATE, "type"), _whole(look_up(merged[-1], *_STEPS))
    key = _LENGTHS.get(kind) if isinstance(kind, str) else None
    if key is None or steps is None:
        return {}, None
    length = look_up(merged[-1], *_RATE, kind, key)
    if length is None:
        return ({} if key == "boundaries" else _nest(kind, key, steps)), None
    given = _last_layer(layers, *_RATE, kind, key)
    before = _whole(look_up(merged[given], *_STEPS))
    if before is None or before == steps:  # Equal where no later layer gives the number of steps.
        return {}, None
    scaled = _scale(length, steps, before)
    if scaled is None or scaled == length:
        return {}, None
    note = (
        f"note: learning_rate.{kind}.{key} is {scaled} instead of {length}, as trainer.train_steps is {steps} instead of {before};"
        f" to choose another, give {key} together with train_steps"
    )
    return _nest(kind, key, scaled), note


def notes(config: Any) -> list[str]:
    """Returns notes about a schedule that does not match the length of the training.

    Args:
      config: the trainer's configuration with the optimizer and `train_steps`.
    """
    steps, rate, warmup = config.train_steps, config.optimizer_config.learning_rate, config.optimizer_config.warmup
    schedule, found = rate.get(), []
    key = _LENGTHS.get(rate.type or "")
    length = getattr(schedule, key) if key else None
    where, last = f"learning_rate.{rate.type}.{key}", f"trainer.train_steps is {steps}"
    if key == "boundaries":
        beyond = [boundary for boundary in length or [] if boundary + schedule.offset >= steps]
        if beyond:
            found.append(f"note: {where} has {', '.join(map(str, beyond))}, but {last}: the rate does not change there")
    elif length is not None and rate.type != "exponential":
        end = length + schedule.offset
        last_rate = getattr(schedule, "end_learning_rate", getattr(schedule, "alpha", 0))
        if end < steps and not last_rate and not getattr(schedule, "cycle", False):
            found.append(f"note: {where} is {length}, but {last}: the learning rate is 0 from step {end} on")
        elif end > steps:
            found.append(f"note: {where} is {length}, but {last}: training ends before the learning rate reaches its final value")
    warmup_steps = warmup.get().warmup_steps if warmup.type else 0
    if warmup_steps >= steps:
        where = f"warmup.{warmup.type}.warmup_steps"
        found.append(f"note: {where} is {warmup_steps}, but {last}: the learning rate never reaches its full value")
    return found


def _whole(value: Any) -> int | None:
    """Returns a positive number of steps in any form that YAML allows, for example 1000 or "1e3"; None for other values."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and 1 <= number < 2**31 and not isinstance(value, bool) else None


def _last_layer(layers: Sequence[dict[str, Any]], *keys: str) -> int:
    """Returns the number of the last layer with a value, or -1."""
    return max((number for number, layer in enumerate(layers) if look_up(layer, *keys) is not None), default=-1)


def _scale(length: object, steps: int, before: int) -> Any:
    if not isinstance(length, list):
        whole = _whole(length)
        return None if whole is None else max(1, round(whole * steps / before))
    scaled: list[int] = []
    for boundary in map(_whole, length):
        if boundary is None:
            return None
        # Boundaries must increase, also if there are so few steps that two of them would be equal.
        scaled.append(max(round(boundary * steps / before), scaled[-1] + 1 if scaled else 1))
    return scaled


def _nest(kind: str, key: str, value: object) -> dict[str, Any]:
    nested: Any = {kind: {key: value}}
    for name in reversed(_RATE):
        nested = {name: nested}
    return dict(nested)
