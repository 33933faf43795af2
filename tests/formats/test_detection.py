"""The register of formats, what a folder holds, and which format it is in."""

import pytest

from tpuseg.formats import detection, registry
from tpuseg.formats import listing as listing_module
from tpuseg.formats.dataset import Dataset, Options, require_kind
from tpuseg.formats.listing import Listing
from tpuseg.registry import Registry


@pytest.fixture
def toys(monkeypatch):
    """Two formats instead of those of the package: files ending in .toy, and in .toy or .other."""
    monkeypatch.setattr(registry, "label_formats", Registry("label format"))

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
    with pytest.raises(ValueError, match=r"2 formats: other \(has a .other\); toy \(has a .toy\). Choose one with --format"):
        detection.read_dataset(str(tmp_path))
    assert detection.read_dataset(str(tmp_path), "toy").format == "toy"


def test_no_format_tells_what_is_there_and_what_is_known(toys, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("images/a.JPG", "images/b.jpg", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"2 .jpg files in images/, 1 .txt file in the folder itself\. .* for one of other, toy;"):
        detection.read_dataset(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="contains no files"):
        detection.read_dataset(str(tmp_path / "empty"))


def test_a_chosen_format_that_does_not_fit_says_what_it_needs(tmp_path):
    (tmp_path / "LICENSE").touch()
    wanted = f"{tmp_path} has no .*; it contains 1 file without an ending in the folder itself; --format=coco reads a JSON file"
    with pytest.raises(ValueError, match=wanted):
        detection.read_dataset(str(tmp_path), "coco")


def test_unknown_names_list_the_known_ones(toys):
    with pytest.raises(
        ValueError, match=r"there is no label format `toys`; did you mean `toy`\? \(known: other, toy; --import_module"
    ):
        registry.find("toys")


def test_a_name_belongs_to_one_format(toys):
    class Toy(registry.Format):
        name = "toy"

    with pytest.raises(ValueError, match="there is already another label format `toy`"):
        registry.register(Toy)
    Toy.name = ""
    with pytest.raises(ValueError, match=r"Toy needs a `name`, which --format uses"):
        registry.register(Toy)


def test_names_and_layouts_of_the_formats():
    for name, one in registry.formats().items():
        assert one.name == name and one.layout and set(one.instead_of) < set(registry.formats())
    assert len(registry.formats()) == 12


def test_a_kind_that_the_data_set_has_not(tmp_path):
    assert require_kind("", ("semantic",), "here") == "semantic"
    with pytest.raises(ValueError, match="here has no labels for --task=instances; it has labels for semantic"):
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
    with pytest.raises(ValueError, match="none does not exist"):
        Listing(str(tmp_path / "none"))


def test_words_in_json_files(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "b.json").write_text('{"images": [], "annotations": [], "segments_info": 1}')
    (tmp_path / "empty.json").touch()
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"{number:02d}.json").write_text('{"shapes": []}')
    (tmp_path / "many" / "07.json").write_text("{}")
    listing = Listing(str(tmp_path))
    assert listing.json_with(["images", "annotations"], ["segments_info"]) == ["a.json"]
    assert listing.json_with(["images", "none"]) == [] and not listing.holds_words("a.json", ["images", "none"])
    assert listing.holds_words("a.json", ['{"images"']) and not listing.holds_words("none.json", ["a"])
    assert listing.json_with(["images"]) == ["a.json", "b.json"]
    assert len(listing.json_with(["shapes"])) == 40  # Six of them were looked into.
    assert listing.json_with(["imag"]) == []  # Whole keys.


def test_one_file_among_many_others_is_found_by_its_size(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}.json").write_text('{"shapes": []}')
    (tmp_path / "20.json").write_text('{"images": [], "shapes": "a list of all"}')
    assert Listing(str(tmp_path)).json_with(["images"]) == ["20.json"]
    assert len(Listing(str(tmp_path)).json_with(["shapes"])) == 30
    (tmp_path / "00.json").write_text("[]")  # One of those that are looked at is another: so all are.
    (tmp_path / "15.json").write_text("[]")
    assert len(Listing(str(tmp_path)).json_with(["shapes"])) == 28


def test_few_files_are_all_looked_at(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02d}.json").write_text("{}" if number == 6 else '{"shapes": []}')
    assert len(Listing(str(tmp_path)).json_with(["shapes"])) == 11


def test_what_a_folder_holds_is_shortened(tmp_path):
    for number in range(6):
        (tmp_path / f"a.{number}").touch()
    assert Listing(str(tmp_path)).describe().count(" in the folder itself, ") == 5
    (tmp_path / "LICENSE").touch()
    assert Listing(str(tmp_path)).describe().endswith(" 1 .4 file in the folder itself and 1 more file")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/LICENSE").touch()
    assert Listing(str(tmp_path / "one")).describe() == "1 file without an ending in the folder itself"


def test_folders_have_a_largest_depth_and_number_of_files(tmp_path, monkeypatch):
    path = tmp_path.joinpath(*map(str, range(9)))
    path.mkdir(parents=True)
    (path / "deep.jpg").touch()
    (path.parent / "less.jpg").touch()
    assert Listing(str(tmp_path)).images() == ["0/1/2/3/4/5/6/7/less.jpg"]
    monkeypatch.setattr(listing_module, "_MAX_FILES", 1)
    Listing(str(tmp_path))
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match="contains more than 1 files; give the folder of one data set"):
        Listing(str(tmp_path))


def test_folders_through_symbolic_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.jpg").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / "real")
    assert Listing(str(tmp_path / "data")).files == ["link/a.jpg"] and Listing(str(tmp_path / "data")).images("lin") == []
