"""Fonts: every character of a name is drawn as itself, or as its escape, and never as an empty box."""

import PIL.ImageFont
import pytest

from tpuseg.visualization import fonts


@pytest.fixture
def without_system_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "_SYSTEM_FOLDERS", ())
    fonts._find_fonts.cache_clear()
    monkeypatch.setattr(fonts, "_noted", [])
    yield
    fonts._find_fonts.cache_clear()


def shapes(text, font):
    return [bytes(font.getmask(character)) for character in text]


@pytest.mark.parametrize("text", ["car", "Größe", "Žluťoučký", "Ελληνικά", "Дорога"])
def test_letters_of_europe_need_no_font_of_the_system(text, without_system_fonts, capsys):
    drawn, font = fonts.fit(text, 14)
    assert drawn == text and not capsys.readouterr().err
    empty_box = bytes(font.getmask(chr(0xFFFF)))
    assert empty_box not in shapes(text, font)


def test_a_character_without_a_font_is_its_escape_and_is_said_once(without_system_fonts, capsys):
    for _ in range(2):
        drawn, font = fonts.fit("路 road", 12)
        assert drawn == "\\u8def road"
    assert bytes(font.getmask(chr(0xFFFF))) not in shapes(drawn, font)
    assert capsys.readouterr().err.count("note: no installed font has all characters of `路 road`") == 1


def test_a_font_of_the_system_is_found_by_its_name(tmp_path, monkeypatch):
    for name in ("NotoSansCJK-Regular.ttc", "other.ttf", "wqy-zenhei.ttc"):
        (tmp_path / name).write_bytes(b"no font")
    monkeypatch.setattr(fonts, "_SYSTEM_FOLDERS", (str(tmp_path),))
    fonts._find_fonts.cache_clear()
    names = [path.rpartition("/")[2] for path in fonts._list_candidates()]
    assert names == ["DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc"]
    assert [path.rpartition("/")[2] for path in fonts._find_fonts()] == ["DejaVuSans.ttf"]  # The others cannot be opened.
    fonts._find_fonts.cache_clear()


def test_a_name_is_one_line():
    assert fonts.fit("a\n b", 12)[0] == "a b"
    assert isinstance(fonts.fit("a", 12)[1], PIL.ImageFont.FreeTypeFont)
