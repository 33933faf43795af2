"""Registries of components: names, duplicates and modules of other packages."""

import sys

import pytest

from tpuseg import registry
from tpuseg.configs import experiments


@pytest.fixture
def kind():
    return registry.Registry("animal", {"cat": "tpuseg.utils.messages:shorten"})


def test_a_registered_component_is_found(kind):
    @kind.register("dog")
    def dog():
        return "woof"

    assert kind.get("dog") is dog and kind.names() == ["cat", "dog"] and list(kind.registered()) == ["dog"]
    kind.unregister("dog")
    assert kind.names() == ["cat"]


def test_an_unknown_name_lists_the_known_ones(kind):
    with pytest.raises(ValueError, match=r"there is no animal `cta`; did you mean `cat`\? \(known: cat; --import_module"):
        kind.get("cta")


def test_a_built_in_component_is_imported_when_it_is_asked_for(kind):
    assert kind.get("cat").__name__ == "shorten"


def test_a_name_is_not_taken_twice(kind):
    with pytest.raises(ValueError, match="there is already another animal `cat`"):
        kind.register("cat")(object())
    kind.register("dog")(test_an_unknown_name_lists_the_known_ones)
    with pytest.raises(ValueError, match="register yours under another name"):
        kind.register("dog")(test_a_registered_component_is_found)


def test_a_component_that_is_defined_again_replaces_itself(kind):
    def define():
        @kind.register("dog")
        def dog():
            pass

        return dog

    first, second = define(), define()
    assert first is not second and kind.get("dog") is second


def test_modules_in_the_working_directory_are_imported(tmp_path, monkeypatch):
    (tmp_path / "my_components.py").write_text("IMPORTED = True\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    loaded = experiments.load("deeplab_shapes", import_modules=["my_components"])
    assert sys.modules.pop("my_components").IMPORTED and list(loaded.config.import_modules) == ["my_components"]


def test_a_module_that_is_not_there_is_one_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: deeplab_shapes\nimport_modules: [no_such_module]\n")
    with pytest.raises(ValueError, match=r"mine.yaml:2: import_modules: cannot import no_such_module .*working directory"):
        experiments.load(str(path))


def test_a_module_that_fails_names_itself(tmp_path, monkeypatch):
    (tmp_path / "bad_components.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="cannot import bad_components .*no_such_dependency"):
        registry.import_modules(["bad_components"])


def test_a_module_that_the_flag_names_is_told_from_those_of_the_file():
    with pytest.raises(ValueError, match=r"^--import_module: cannot import no_such_module "):
        experiments.load("deeplab_shapes", import_modules=["no_such_module"])
