"""Settings that weights need: pixels scaled as they were trained with, and the layers that a file's shapes do not tell apart."""

from typing import Any

from tpuseg import registry
from tpuseg.configs import schema

# Below `task.model`.
_ALWAYS = ("num_channels", "pixel_scaling", "pixel_mean", "pixel_stddev", "backbone.type", "activation")
# Names that some of these settings had in earlier releases.
_EARLIER_NAMES = {"norm.activation": "activation"}


def with_current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Returns settings by their current names, which checkpoints of earlier releases have under other names."""
    return {_EARLIER_NAMES.get(path, path): value for path, value in values.items()}


def _paths(backbone_type: str) -> list[str]:
    own = registry.backbones.get(backbone_type).settings_of_weights
    return [*_ALWAYS, *(f"backbone.{backbone_type}.{name}" for name in own)]


def of_settings(settings: schema.InputConfig) -> dict[str, Any]:
    """Returns what weights need that were trained with these settings (`task.model`)."""
    return {path: _plain(schema.look_up(settings, path)) for path in _paths(settings.backbone.type)}


def of_values(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the same of a run's written configuration, which may be from before some settings were there."""
    found = {}
    for path in (*_EARLIER_NAMES, *_paths(values.get("backbone", {}).get("type", "resnet"))):
        value: Any = values
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[path] = value
    return with_current_names(found)


def check(path: str, what: str, required: dict[str, Any], settings: schema.InputConfig) -> None:
    """Raises ValueError if the model is not the one that the weights are for, with what to set.

    Args:
      path: path of the weights.
      what: they are, in words.
      required: settings below `task.model`, and their values.
      settings: the model's configuration.
    """
    wrong = differences(required, settings)
    if wrong:
        keys = {key: f"task.model.{key}={_shown(value)}" for key, value in wrong.items()}
        said = ", ".join(f"{text} (it is {_shown(schema.look_up(settings, key))})" for key, text in keys.items())
        override = ",".join(keys.values())
        raise ValueError(f"{path} is {what}, whose weights need {said}; add --params_override={override}")


def differences(wanted: dict[str, Any], settings: schema.InputConfig) -> dict[str, Any]:
    """Returns those of the wanted values that the settings have otherwise; what they do not have at all is no difference."""
    return {key: value for key, value in wanted.items() if _has(settings, key) and _plain(schema.look_up(settings, key)) != value}


def _has(settings: schema.InputConfig, path: str) -> bool:
    for key in path.split("."):
        if not hasattr(settings, key):
            return False
        settings = getattr(settings, key)
    return True


def _shown(value: object) -> str:
    """Returns a value as --params_override takes it."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
