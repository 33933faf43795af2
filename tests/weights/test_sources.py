"""Sources of weights that other packages register."""

import pytest

from tpuseg import registry, weights
from tpuseg.weights.source import WeightSource


@pytest.fixture
def by_content():
    """A source that recognises its files by their first bytes, whatever their names."""

    @registry.weight_sources.register("magic")
    class Magic(WeightSource):
        endings = (".magic",)

        def recognizes(self, path):
            with open(path, "rb") as file:
                return file.read(5) == b"MAGIC"

        def read(self, path):
            raise NotImplementedError

    yield
    registry.weight_sources.unregister("magic")


@pytest.mark.parametrize("kind", ["", "magic"])
def test_a_registered_source_recognises_files_without_its_ending(by_content, tmp_path, kind):
    (tmp_path / "weights.bin").write_bytes(b"MAGIC and more")
    weights.require_known(str(tmp_path / "weights.bin"), kind)
    (tmp_path / "other.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"other.bin is of an unknown kind; give .*\.magic"):
        weights.require_known(str(tmp_path / "other.bin"), kind)


def test_another_kind_does_not_take_it(by_content, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"MAGIC and more")
    with pytest.raises(ValueError, match="give a file of torchvision"):
        weights.require_known(str(tmp_path / "weights.bin"), "torchvision")
