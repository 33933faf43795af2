"""Rules of the source code: which packages it imports, and that every field of a configuration is read, described and checked."""

import ast
import dataclasses
import re
import sys
import typing

import pytest
from official.modeling.hyperparams import base_config, oneof

from tpuseg import registry
from tpuseg.configs import ranges, schema


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(repository):
    for path in sorted((repository / "official").rglob("*.py")):
        name = ".".join(path.relative_to(repository / "official").with_suffix("").parts).removesuffix(".__init__")
        if name.startswith("tpuseg"):
            yield name, path


def test_nobody_imports_the_model_gardens_vision(repository):
    # Of packages outside, the linter knows the first part of the name only.
    found = [(name, imported) for name, path in modules(repository) for imported in imports(path)]
    assert [pair for pair in found if pair[1].startswith("official.vision")] == []


def test_official_is_no_package(repository):
    # Installed, it would overwrite the Model Garden's package of the same name.
    assert not (repository / "official" / "__init__.py").exists()


def config_module(architecture):
    return sys.modules[registry.architectures.get(architecture).experiment_class.__module__]


CONFIGS = [
    value
    for module in (schema, *(config_module(name) for name in registry.architectures.names()))
    for value in vars(module).values()
    if dataclasses.is_dataclass(value) and value.__module__ == module.__name__
]


def numbers(cls):
    """Yields (class, field) for every number below a class of configurations, also in lists."""
    for name, hint in typing.get_type_hints(cls).items():
        if name in ("default_params", "restrictions"):
            continue
        for kind in (hint, *typing.get_args(hint), *(inner for part in typing.get_args(hint) for inner in typing.get_args(part))):
            if dataclasses.is_dataclass(kind):
                yield from numbers(kind)
            elif kind in (int, float):
                yield cls, name


NUMBERS = sorted(
    {
        (architecture, cls, name)
        for architecture in registry.architectures.names()
        for cls, name in numbers(registry.architectures.get(architecture).experiment_class)
    },
    key=str,
)


@pytest.mark.parametrize(("architecture", "cls", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_number_has_a_range_that_is_checked(architecture, cls, name):
    table = {**schema.RANGES, **registry.architectures.get(architecture).ranges, **schema.ranges_of_components()}
    allowed = ranges.find(cls, name, table)
    assert allowed is not None, f"{cls.__name__}.{name} needs a range in RANGES of its module"
    config = cls()
    default = getattr(config, name)

    def has_problem():
        return any(path.partition("[")[0] == name for path, _ in ranges.problems(config, table))

    assert not has_problem() or name == "train_steps", "the default is out of range"  # Every experiment says how long it trains.
    outside = [value for value in (-1e9, -1, -1e-9, 0, 1, 1.5, 99, 1e9, 2**31) if value not in allowed] or [2**31]
    for value in outside:
        config.override({name: [value, value] if isinstance(default, list | tuple) else value})
        assert has_problem(), f"{value} is accepted"


def own_fields(cls):
    """Returns the fields that a class adds to those of its parents."""
    return [name for name in vars(cls).get("__annotations__", {}) if name not in ("default_params", "restrictions")]


def unread_fields(cls, sources):
    """Returns the fields that no module reads; one of several choices is read by its name in `type`."""
    if issubclass(cls, oneof.OneOfConfig):
        return []
    return [name for name in own_fields(cls) if not re.search(rf"\.{name}\b", sources)]


def undocumented_fields(cls):
    """Returns the fields that the class's docstring does not describe; another configuration describes itself."""
    plain = [name for name in own_fields(cls) if not dataclasses.is_dataclass(vars(cls)["__annotations__"][name])]
    return [name for name in plain if not re.search(rf"^\s+{name}: \S", cls.__doc__ or "", re.MULTILINE)]


@pytest.fixture(scope="module")
def sources(repository):
    """The text of all modules that may read a configuration."""
    return "\n".join(path.read_text() for _, path in modules(repository))


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}")
def test_every_field_is_read_and_described(cls, sources):
    assert unread_fields(cls, sources) == []
    assert undocumented_fields(cls) == []


def test_a_field_that_is_unread_or_not_described_is_found(sources):
    @dataclasses.dataclass
    class Planted(base_config.Config):
        """A configuration.

        Attributes:
          num_classes: of the model.
          never_read_by_anybody: of nothing.
        """

        num_classes: int = 1
        never_read_by_anybody: int = 2
        flip: bool = False

    assert unread_fields(Planted, sources) == ["never_read_by_anybody"]
    assert undocumented_fields(Planted) == ["flip"]
