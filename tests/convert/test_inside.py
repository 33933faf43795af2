"""Names in lists and annotation files cannot lead out of a data set's folders."""

import pytest

from tpuseg.convert import inside


@pytest.mark.parametrize("split", ["", ".", "..", "../x", "a/b", "/tmp/x", "a\\b", "a\nb", "a\0b"])
def test_a_split_is_a_plain_name(split):
    with pytest.raises(ValueError, match="--split=.* must be a name"):
        inside.require_split(split)


@pytest.mark.parametrize("split", ["train", "val2017", "train-1.0", "..x", "Prüfung", "my split"])
def test_names_of_splits(split):
    inside.require_split(split)


def test_paths_and_links_that_lead_out(tmp_path):
    data, other = tmp_path / "data", tmp_path / "data_of_others"
    for folder in (data, other):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"")
    (data / "link.jpg").symlink_to(other / "a.jpg")
    (data / "inner.jpg").symlink_to(data / "a.jpg")
    (data / "linked").symlink_to(other)
    (tmp_path / "root").symlink_to(data)
    for root in (str(data), str(tmp_path / "root"), f"{data}/"):
        for name in ("a.jpg", "inner.jpg", "../data/a.jpg", "missing.jpg"):
            assert inside.Folders([root]).why_outside(name, f"{root}/{name}") is None
        for name in ("link.jpg", "linked/a.jpg", "../data_of_others/a.jpg", "../missing.jpg"):
            assert "is outside of" in inside.Folders([root]).why_outside(name, f"{root}/{name}")
    assert inside.Folders([str(data)]).why_outside("x", str(other / "a.jpg")).endswith("with --allow_outside")
    assert "(it leads to" in inside.Folders([str(data)]).why_outside("link.jpg", str(data / "link.jpg"))
    assert inside.Folders([str(data), str(other)]).why_outside("x", str(other / "a.jpg")) is None
    assert inside.Folders([str(data)]).why_outside("a\0b", str(data / "a.jpg")) == "has a NUL byte"
