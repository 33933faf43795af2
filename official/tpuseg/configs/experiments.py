"""Loading experiments: from a name to a checked, typed configuration.

An experiment is a YAML file. `extends: NAME` inherits the values of another one. As in the Model Garden, `--config_file` and
`--params_override` override values. The origin of every value is stored, so that error messages have file, line and full path.
"""

import dataclasses
import difflib
import itertools
import math
import os
import pathlib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Union

import yaml
from official.modeling.hyperparams import base_config, oneof

from tpuseg import registry
from tpuseg.configs import extensible, overrides, ranges, schedules, schema
from tpuseg.io import files, yaml_files
from tpuseg.utils import messages

# An installed package contains the experiments; in a clone they are beside `official/`.
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "experiments", _PACKAGE.parent.parent / "experiments")
OVERRIDES = "--params_override"
# The file with the resolved experiment in a model directory.
CONFIG_FILE = "config.yaml"
# What official/plan.py writes into the folder of a data set.
PLAN_FILE, FINGERPRINT_FILE = "experiment.yaml", "fingerprint.json"
_MAX_NAME = 1000
# A number in a string: with an exponent that YAML 1.1 does not recognize (1e-4), or in quotes; not `inf`, `nan` or 010.
_NUMBER = re.compile(r"[-+]?(?!0\d)(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$")
_LARGEST_WHOLE = 2**53


@dataclasses.dataclass
class Layer:
    """One source of values.

    Attributes:
      values: values as nested dictionaries.
      origins: `file:line` of each dotted path, for messages.
      name: name of the file or flag.
    """

    values: dict[str, Any]
    origins: dict[str, str]
    name: str


def experiment_names() -> list[str]:
    """Returns the names of the project's experiments, sorted."""
    return sorted({path.stem for folder in _FOLDERS if folder.is_dir() for path in folder.glob("*.yaml")})


def _nearest(word: str, words: list[str]) -> str:
    match = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean `{match[0]}`?" if match else ""


def find_experiment(name: str) -> str:
    """Returns the path of the file of an experiment.

    Args:
      name: a name from `experiment_names`, or the path of a YAML file.

    Raises:
      ValueError: there is no such experiment; the message lists the existing ones.
    """
    if len(name) > _MAX_NAME:
        raise ValueError(f"--experiment={name[:80]}...: the name is too long ({len(name)} characters)")
    if name.endswith((".yaml", ".yml")):
        if not files.exists(name):
            raise ValueError(f"--experiment={name}: there is no such file")
        return name
    for folder in _FOLDERS:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)
    names = experiment_names()
    raise ValueError(f"there is no experiment `{messages.shorten(name)}`{_nearest(name, names)}\nexperiments: {', '.join(names)}")


def _read_layer(path: str) -> Layer:
    """Reads a YAML file, with the line of every value."""
    document = yaml_files.read(path)
    if os.path.basename(path) == CONFIG_FILE:
        _rename_keys(document.values)
    return Layer(document.values, document.origins, path)


def _rename_keys(values: dict[str, Any]) -> None:
    """Moves the values of keys that were renamed since a run wrote its configuration."""
    for old, new in schema.RENAMED_KEYS.items():
        *sections, key = old.split(".")
        section: Any = values
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and key in section:
            value = section.pop(key)
            *sections, key = new.split(".")
            target = values
            for name in sections:
                target = target.setdefault(name, {})
            target.setdefault(key, value)


def _override_layer(given: str | Mapping[str, Any]) -> Layer:
    """Reads what follows `--params_override`, values or the path of a YAML file, or what a program gives as a dictionary."""
    if isinstance(given, Mapping):
        return Layer(overrides.from_mapping(given, "overrides"), {}, "overrides")
    text = given
    if not overrides.is_file(text):
        return Layer(overrides.parse(text, OVERRIDES), {}, OVERRIDES)
    if not files.exists(text):
        raise ValueError(f"{OVERRIDES}={text}: there is no such file")
    return _read_layer(text)


def _merge(values: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _layers_of(name: str, seen: tuple[str, ...] = ()) -> Iterator[Layer]:
    """Yields the layers of an experiment, beginning with the experiment that it extends."""
    path = find_experiment(name)
    if any(_is_same_file(path, other) for other in seen):
        raise ValueError(f"{' extends '.join((*seen, path))}: an experiment cannot extend itself")
    layer = _read_layer(path)
    parent = layer.values.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str) or not parent:
            where = layer.origins["extends"]
            raise ValueError(f"{where}: extends: is {messages.format_value(parent)}, but must be the name of an experiment")
        beside = os.path.join(os.path.dirname(path), f"{parent}.yaml")
        try:
            yield from _layers_of(beside if files.exists(beside) else parent, (*seen, path))
        except ValueError as error:
            if seen or " extends " in str(error):
                raise
            raise ValueError(f"{layer.origins['extends']}: extends: {error}") from error
    yield layer


def _is_same_file(path: str, other: str) -> bool:
    return path == other or ("://" not in path + other and os.path.realpath(path) == os.path.realpath(other))


@dataclasses.dataclass
class _Checker:
    """Checks nested values against a dataclass, and converts values that are ambiguous in YAML.

    Attributes:
      origins: `file:line` of each dotted path.
      default_origin: origin of all other values.
      layers: number of the layer of each dotted path; the first layer of the experiment is 0.
    """

    origins: dict[str, str]
    default_origin: str
    layers: dict[str, int] = dataclasses.field(default_factory=dict)

    def latest(self, paths: typing.Sequence[str]) -> str:
        """Returns the path from the latest layer, which the user has probably changed."""
        return max(paths, key=lambda path: self.layers.get(path, -1))

    def where(self, path: str) -> str:
        while path and path not in self.origins:
            path = path.rpartition("[" if path.endswith("]") else ".")[0]
        return self.origins.get(path, self.default_origin)

    def fail(self, path: str, message: str) -> typing.NoReturn:
        raise ValueError(f"{self.where(path)}: {messages.shorten(path, 300)}: {message}")

    def config(self, values: dict[str, Any], cls: type, path: str) -> dict[str, Any]:
        if issubclass(cls, extensible.Extensible):
            cls.register_fields()
        hints = {key: hint for key, hint in typing.get_type_hints(cls).items() if key not in _INIT_ONLY}
        checked = {}
        for key, value in values.items():
            full = f"{path}.{key}" if path else key
            if full in schema.RENAMED_KEYS:
                self.fail(full, f"this key is now {schema.RENAMED_KEYS[full]}")
            if key not in hints:
                self.fail(full, f"there is no such key{_nearest(key, list(hints))} (keys here: {', '.join(sorted(hints))})")
            checked[key] = self.value(value, hints[key], full)
        kind = checked.get("type")
        if issubclass(cls, oneof.OneOfConfig) and kind is not None:
            choices = sorted(set(hints) - {"type"})
            if kind not in choices:
                nearest = _nearest(str(kind), choices)
                self.fail(f"{path}.type", f"{messages.format_value(kind)} is not one of {', '.join(choices)}{nearest}")
        return checked

    def value(self, value: object, hint: Any, path: str) -> Any:
        origin = typing.get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._union(value, typing.get_args(hint), path)
        if isinstance(hint, type) and issubclass(hint, base_config.Config):
            if not isinstance(value, dict):
                self.fail(path, f"is {messages.format_value(value)}, but has keys of its own: {', '.join(_keys(hint))}")
            return self.config(value, hint, path)
        if origin in (list, tuple) or hint in (list, tuple):
            if not isinstance(value, list | tuple):
                self.fail(path, f"is {messages.format_value(value)}, but must be a list, like [1, 2]")
            items = typing.get_args(hint) or (Any,)
            return [self.value(item, items[0], f"{path}[{i}]") for i, item in enumerate(value)]
        return self._scalar(value, hint, path)

    def _union(self, value: object, hints: tuple[Any, ...], path: str) -> Any:
        if value is None and type(None) in hints:
            return None
        candidates = [hint for hint in hints if hint is not type(None)]
        for hint in candidates:
            try:
                return self.value(value, hint, path)
            except ValueError:
                if len(candidates) == 1:
                    raise
        self.fail(path, f"is {messages.format_value(value)}, but must be {' or '.join(_type_name(hint) for hint in candidates)}")

    def _scalar(self, value: object, hint: Any, path: str) -> Any:
        if hint is Any or (isinstance(value, bool) and hint is bool):
            return value
        if hint is str and (value is None or isinstance(value, str)):
            return value or ""
        if hint in (int, float) and not isinstance(value, bool):
            number = _number(value)
            if number is not None and (hint is float or number.is_integer()):
                if not math.isfinite(number):
                    self.fail(path, f"is {messages.format_value(value)}, but must be a finite number")
                if hint is float:
                    return number
                if abs(number) > _LARGEST_WHOLE:
                    self.fail(path, f"is {messages.format_value(value)}, which is too large")
                return value if isinstance(value, int) else int(number)
        quote = "; put it in quotes" if hint is str and isinstance(value, bool | int | float) else ""
        self.fail(path, f"is {messages.format_value(value)}, but must be {_type_name(hint)}{quote}")


def _number(value: Any) -> float | None:
    """Converts a value to a number, or None; a number that is too large for a float becomes infinite."""
    if isinstance(value, str) and not _NUMBER.match(value):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


_INIT_ONLY = set(base_config.Config.__annotations__)


def _keys(cls: type) -> list[str]:
    return sorted(set(typing.get_type_hints(cls)) - _INIT_ONLY)


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, "a list" if typing.get_origin(hint) is list else getattr(hint, "__name__", str(hint)))


def _scaling_note(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Returns a note about the linear scaling rule (arXiv:1706.02677) if only the batch size was overridden."""
    batch = ("task", "train_data", "global_batch_size")
    rates = ("trainer", "optimizer_config", "learning_rate")
    old, new = schedules.look_up(before, *batch), schedules.look_up(after, *batch)
    same_rates = schedules.look_up(before, *rates) == schedules.look_up(after, *rates)
    if not (isinstance(old, int) and isinstance(new, int)) or old == new or not same_rates:
        return None
    return (
        f"note: the batch size is {new} instead of the experiment's {old}, with the same learning rate; the linear scaling rule"
        f" would multiply it by {new / old:g}"
    )


@dataclasses.dataclass(repr=False)
class Experiment:
    """A resolved experiment.

    Attributes:
      name: the given name, without folder and extension.
      config: the typed configuration, locked.
      notes: messages for the user.
    """

    name: str
    config: schema.ExperimentConfig
    notes: list[str]

    def __repr__(self) -> str:
        """Returns for example `<Experiment maskrcnn_shapes: maskrcnn, 6 classes, 1540 steps of 8 images>`."""
        task, steps = self.config.task, self.config.trainer.train_steps
        classes = f"{task.model.num_classes} class{'es' * (task.model.num_classes != 1)}"
        batch = task.train_data.global_batch_size
        return f"<Experiment {self.name}: {self.config.architecture}, {classes}, {steps} steps of {batch} images>"


def load(
    experiment: str,
    config_files: typing.Sequence[str] = (),
    params_override: str | Mapping[str, Any] = "",
    tpu: str = "",
    import_modules: typing.Sequence[str] = (),
) -> Experiment:
    """Reads, merges and checks an experiment.

    Args:
      experiment: name or path.
      config_files: additional YAML files; later ones have precedence.
      params_override: `key.key=value,...`, a YAML file, or values by their keys, `{"key.key": value}`; wins over all files.
      tpu: name of a TPU; wins over everything.
      import_modules: Modules of other packages, imported besides those that the experiment names (`import_modules`).

    Returns:
      The experiment; the configuration has the type of its `architecture`.

    Raises:
      ValueError: an unknown name or key, or a value of a wrong type or range; the message has file, line, path and nearest name.
    """
    layers = list(_layers_of(experiment))
    before: dict[str, Any] = {}
    for layer in layers:
        before = _merge(before, layer.values)
    for path in config_files:
        if not files.exists(path):
            raise ValueError(f"--config_file={path}: there is no such file")
        layers.append(_read_layer(path))
    if params_override:
        layers.append(_override_layer(params_override))
    if tpu:
        layers.append(Layer({"runtime": {"tpu": tpu}}, {}, "--tpu"))
    merged: list[dict[str, Any]] = []
    origins: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for number, layer in enumerate(layers):
        merged.append(_merge(merged[-1] if merged else {}, layer.values))
        paths = list(_paths(layer.values))
        origins |= dict.fromkeys(paths, layer.name) | layer.origins
        numbers |= dict.fromkeys(paths, number)
    checker = _Checker(origins, layers[-1].name, numbers)
    update, schedule_note = schedules.follow([layer.values for layer in layers], merged)
    values = _merge(merged[-1], update)
    values["import_modules"] = _import(values.get("import_modules"), import_modules, checker)
    config = _build(values, checker)
    notes = [note for note in (_scaling_note(before, merged[-1]), schedule_note) if note]
    return Experiment(_name_of(experiment), config, notes + schedules.notes(config.trainer))


def _name_of(experiment: str) -> str:
    """Returns the name of an experiment: that of its file, or of its folder for the file of a plan."""
    path = pathlib.PurePath(os.path.abspath(experiment))
    return path.parent.name if path.name == PLAN_FILE and files.exists(str(path.parent / FINGERPRINT_FILE)) else path.stem


def _import(given: Any, further: typing.Sequence[str], checker: _Checker) -> list[str]:
    """Imports the modules that register the experiment's components; returns their names."""
    names = checker.value(given or [], list[str], "import_modules")
    try:
        registry.import_modules(names)
    except ValueError as error:
        checker.fail("import_modules", str(error))
    try:
        registry.import_modules(list(further))
    except ValueError as error:
        raise ValueError(f"--import_module: {error}") from error
    return names + [name for name in further if name not in names]


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


def _build(values: dict[str, Any], checker: _Checker) -> schema.ExperimentConfig:
    architecture = values.get("architecture")
    choices = registry.architectures.names()
    if architecture not in choices:
        given = f"{messages.format_value(architecture)} is not one of" if architecture else "is missing; choose one of"
        checker.fail("architecture", f"{given} {', '.join(choices)}{_nearest(str(architecture), choices)}")
    chosen = registry.architectures.get(str(architecture))
    config = chosen.experiment_class(checker.config(values, chosen.experiment_class, ""))
    table = {**schema.RANGES, **chosen.ranges, **schema.ranges_of_components()}
    for path, message in itertools.chain(ranges.problems(config, table), chosen.problems(config)):
        checker.fail(path if isinstance(path, str) else checker.latest(path), message)
    config.lock()
    return config


def to_yaml(config: schema.ExperimentConfig) -> str:
    """Returns the whole configuration, defaults included, as a YAML text that `load` reads again."""
    return yaml.safe_dump(config.as_dict(), sort_keys=False)
