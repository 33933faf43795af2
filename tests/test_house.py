"""The walls of the house: who imports whom, and that no field of a configuration stands unread."""

import ast
import dataclasses
import re
import typing

import pytest

from tpuseg import ranges, schema, zoo
from tpuseg.deeplab import config as deeplab_config

# What may not be imported by whom: a prefix of the importing module, and prefixes that it must not name.
FORBIDDEN = [
    ("tpuseg", ("official.vision",)),
    ("tpuseg.deeplab", ("tpuseg.maskrcnn", "tpuseg.training", "tpuseg.zoo", "tpuseg.runtime")),
    ("tpuseg.maskrcnn", ("tpuseg.deeplab", "tpuseg.training", "tpuseg.zoo", "tpuseg.runtime")),
    ("tpuseg.backbones", ("tpuseg.deeplab", "tpuseg.maskrcnn", "tpuseg.task", "tpuseg.pipeline")),
    ("tpuseg.layers", ("tpuseg.deeplab", "tpuseg.maskrcnn", "tpuseg.backbones", "tpuseg.pipeline")),
    ("tpuseg.records", ("tpuseg.deeplab", "tpuseg.maskrcnn", "tpuseg.pipeline", "tpuseg.layers")),
    ("tpuseg.convert", ("tpuseg.deeplab", "tpuseg.maskrcnn", "tpuseg.layers", "tpuseg.backbones")),
]
# The only modules that know the Model Garden.
KNOW_THE_MODEL_GARDEN = re.compile(r"tpuseg\.(schema|config|runtime|zoo|task|trainer|training|\w+\.config|\w+\.task)$")


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


def inside(name, prefix):
    return name == prefix or name.startswith(prefix + ".")


def test_imports_run_one_way(repository):
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules(repository)
        for imported in imports(path)
        for importer, forbidden in FORBIDDEN
        if inside(name, importer) and any(inside(imported, prefix) for prefix in forbidden)
    ]
    assert wrong == []


def test_few_know_the_model_garden(repository):
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules(repository)
        for imported in imports(path)
        if (inside(imported, "official") or inside(imported, "orbit")) and not KNOW_THE_MODEL_GARDEN.match(name)
    ]
    assert wrong == []


def test_official_is_no_package(repository):
    # Installed, it would overwrite the Model Garden's package of the same name.
    assert not (repository / "official" / "__init__.py").exists()


CONFIGS = [
    value
    for module in (schema, deeplab_config)
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
        for architecture in zoo.architectures()
        for cls, name in numbers(zoo.config_module(architecture).ExperimentConfig)
    },
    key=str,
)


@pytest.mark.parametrize(("architecture", "cls", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_number_has_a_range_that_is_checked(architecture, cls, name):
    table = {**schema.RANGES, **zoo.config_module(architecture).RANGES}
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


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}")
def test_every_field_is_read_and_described(cls, repository):
    sources = "\n".join(
        path.read_text() for name, path in modules(repository) if not name.endswith((".config", "tpuseg.schema"))
    )
    own = [name for name in vars(cls).get("__annotations__", {}) if name not in ("default_params", "restrictions")]
    for name in own:
        assert re.search(rf"\.{name}\b", sources) or name in ("mobilenet_v2", "xception65", "resnet", "type"), name
        if len(own) > 1 and not dataclasses.is_dataclass(cls.__annotations__[name]) and name in (cls.__doc__ or ""):
            assert f"{name}:" in cls.__doc__
