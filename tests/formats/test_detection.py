"""The register of formats, what a folder holds, and which format it is in."""

import pytest

from tpuseg.formats import detection, registry
from tpuseg.formats.dataset import Dataset, Options, require_kind
from tpuseg.formats.listing import Listing


@pytest.fixture
def toys(monkeypatch):
    """Two formats instead of those of the package: files ending in .toy, and in .toy or .other."""
    monkeypatch.setattr(registry, "_formats", {})
    monkeypatch.setattr(registry, "_MODULES", ())

    @registry.register
    class Toy(registry.Format):
        name, layout = "toy", "*.toy"

        def detect(self, listing):
            return "has a .toy" if listing.ending_with(".toy") else ""

        def read(self, listing, options):
            kind = require_kind(options.kind, self.offered_kinds(listing), listing.root)
            return Dataset("toy", kind, listing.root, (), ())

    @registry.register
    class Other(Toy):
        name, layout = "other", "*.other"

        def detect(self, listing):
            return "has a .other" if listing.ending_with(".other") else ""


def test_the_one_format_that_fits_is_read(toys, tmp_path):
    (tmp_path / "a.toy").touch()
    assert detection.read_dataset(str(tmp_path)).format == "toy"
    assert detection.read_dataset(str(tmp_path), options=Options(kind="semantic")).kind == "semantic"


def test_an_ambiguous_folder_names_the_candidates(toys, tmp_path):
    for name in ("a.toy", "b.other"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"2 formats: toy \(has a .toy\); other \(has a .other\). Choose one with --format"):
        detection.read_dataset(str(tmp_path))
    assert detection.read_dataset(str(tmp_path), "toy").format == "toy"


def test_no_format_tells_what_is_there_and_what_is_known(toys, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("images/a.JPG", "images/b.jpg", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"holds 2 .jpg in images, 1 .txt in \..*other: \*.other; toy: \*.toy"):
        detection.read_dataset(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no files"):
        detection.read_dataset(str(tmp_path / "empty"))


def test_unknown_names_list_the_known_ones(toys):
    with pytest.raises(ValueError, match="--format=toys is not known; formats: other, toy"):
        registry.find("toys")


def test_a_name_belongs_to_one_module(toys):
    class Toy(registry.Format):
        name = "toy"

    Toy.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="elsewhere.Toy has the name `toy`"):
        registry.register(Toy)
    Toy.name = ""
    with pytest.raises(ValueError, match="is empty"):
        registry.register(Toy)


def test_a_kind_that_the_data_set_has_not(tmp_path):
    assert require_kind("", ("semantic",), "here") == "semantic"
    with pytest.raises(ValueError, match="here has no labels for --task=instances; it has those for semantic"):
        require_kind("instances", ("semantic",), "here")


def test_listing(tmp_path):
    for name in ("b/c/x.PNG", "b/y.txt", "a.jpg", ".hidden/z.jpg", "__MACOSX/w.jpg", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "up").symlink_to(tmp_path)  # Listed once all the same.
    listing = Listing(str(tmp_path))
    assert listing.files == ["a.jpg", "b/c/x.PNG", "b/y.txt"]
    assert listing.images() == ["a.jpg", "b/c/x.PNG"] and listing.images(below="b") == ["b/c/x.PNG"]
    assert listing.names("b") == ["y.txt"] and listing.names() == ["a.jpg"] and listing.names("none") == []
    assert listing.has("b/y.txt") and not listing.has("b/x.PNG")
    assert listing.folders() == ["", "b", "b/c"]
    assert listing.path("b/y.txt") == str(tmp_path / "b" / "y.txt")


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file, not a folder"):
        Listing(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="none is not there"):
        Listing(str(tmp_path / "none"))


def test_words_in_json_files(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "b.json").write_text('{"images": [], "annotations": [], "segments_info": 1}')
    (tmp_path / "empty.json").touch()
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"{number:02d}.json").write_text('{"shapes": []}')
    listing = Listing(str(tmp_path))
    assert listing.json_with(["images", "annotations"], ["segments_info"]) == ["a.json"]
    assert listing.json_with(["images"]) == ["a.json", "b.json"]
    assert len(listing.json_with(["shapes"])) == 40  # Three of them were looked into.
    assert listing.json_with(["imag"]) == []  # Whole keys.
