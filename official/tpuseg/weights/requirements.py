"""Settings that weights need: pixels scaled as they were trained with, and the layers that a file's shapes do not tell apart."""

from typing import Any

from tpuseg.configs import schema

# Below `task.model`.
_ALWAYS = ("num_channels", "pixel_scaling", "pixel_mean", "pixel_stddev", "backbone.type", "norm.activation")
_OF_A_RESNET = ("backbone.resnet.depth", "backbone.resnet.stem", "backbone.resnet.stride_on", "backbone.resnet.stride_at")


def of_settings(settings: schema.InputConfig) -> dict[str, Any]:
    """Returns what weights need that were trained with these settings (`task.model`)."""
    paths = _ALWAYS + (_OF_A_RESNET if settings.backbone.type == "resnet" else ())
    return {path: _plain(schema.look_up(settings, path)) for path in paths}


def of_values(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the same of a run's written configuration, which may be from before some settings were there."""
    is_resnet = values.get("backbone", {}).get("type") == "resnet"
    found = {}
    for path in _ALWAYS + (_OF_A_RESNET if is_resnet else ()):
        value: Any = values
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[path] = value
    return found


def check(path: str, what: str, required: dict[str, Any], settings: schema.InputConfig) -> None:
    """Raises ValueError if the model is not the one that the weights are for, with what to set.

    Args:
      path: of the weights.
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
