"""Text files in the encodings that people have; every other one is named with its line."""

import pytest

from tpuseg.io import text_files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_with_and_without_a_byte_order_mark(encoding, newline, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(newline.join(["  Größe ", "道路", "", "car"]).encode(encoding))
    assert text_files.read_lines(str(path), "list") == ["Größe", "道路", "", "car"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_byte_order_mark(encoding):
    assert text_files.decode_lines("background\nroad\n".encode(encoding), "names.txt") == ["background", "road", ""]


def test_a_byte_order_mark_in_the_middle_of_joined_files():
    assert text_files.decode_lines("a\n\ufeffb\n".encode(), "names.txt") == ["a", "b", ""]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("a\nGröße\n".encode("latin-1"), r"names.txt, line 2: is not text in UTF-8 \(is it Latin-1\?\); save the file as UTF-8"),
        (b"a\nb\0c\n", r"names.txt, line 2: has the control character U\+0000"),
        (b"a\x1bb\n", r"names.txt, line 1: has the control character U\+001B"),
        (b"\xff\xfea\0b", "names.txt, line 1: is not text in UTF-16"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(raw, said):
    with pytest.raises(ValueError, match=said):
        text_files.decode_lines(raw, "names.txt")


def test_files_that_are_not_there_or_no_files(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="there is no labelmap .*nothing.txt"):
        text_files.read_lines(str(tmp_path / "nothing.txt"), "labelmap")
    with pytest.raises(ValueError, match="is a folder, not a labelmap"):
        text_files.read_lines(str(tmp_path), "labelmap")
    with pytest.raises(ValueError, match="/dev/zero is no regular file, not a labelmap"):
        text_files.read_lines("/dev/zero", "labelmap")
    monkeypatch.setattr(text_files, "_LARGEST_BYTES", 3)
    (tmp_path / "large.txt").write_text("abcd")
    with pytest.raises(ValueError, match="large.txt has 4 bytes, too many for a labelmap"):
        text_files.read_lines(str(tmp_path / "large.txt"), "labelmap")
