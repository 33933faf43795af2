"""Fonts for class names in any script for which the machine has a font.

Pillow's own font has only Latin letters and draws an empty box for other characters. DejaVu Sans, which is part of matplotlib, has
Latin, Greek, Cyrillic and more. For Chinese, Japanese, Korean and other scripts a font of the system is used. A character that no
font has is drawn as its ASCII escape in Python.
"""

import functools
import importlib.util
import os
import sys

import PIL.ImageFont

Font = PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont

_SYSTEM_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
# Prefixes of the file names of fonts with many scripts, in lower case, the best first.
_SYSTEM_FONTS = (
    *("notosanscjk", "notosanssc", "sourcehansans", "wqy", "droidsansfallback", "unifont", "arialuni", "arial unicode"),
    *("pingfang", "hiragino", "msyh", "simsun", "yugoth", "malgun", "notosans", "freesans"),
)
# A code point that is not a character: a font draws it in the same way as every missing character.
_NO_CHARACTER = "\uffff"
# The text for which the note was printed; empty before that.
_noted: list[str] = []


def fit(text: str, size: int) -> tuple[str, Font]:
    """Returns a font for a text, and the text with escapes for characters that the font does not have.

    Args:
      text: the text, for example a class name.
      size: height of the text in pixels.

    Returns:
      The text with escapes, and the font.
    """
    text = " ".join(text.split())  # Without line breaks, so that a label has one line.
    if text.isascii():
        return text, PIL.ImageFont.load_default(size)
    fonts = [_open(path, size) for path in ("", *_find_fonts())]
    for font in fonts:
        if all(_has_character(font, character) for character in text):
            return text, font
    best = max(fonts, key=lambda font: sum(_has_character(font, character) for character in text))
    drawn = "".join(
        character if _has_character(best, character) else character.encode("ascii", "backslashreplace").decode()
        for character in text
    )
    _print_note(text)
    return drawn, best


def _print_note(text: str) -> None:
    """Prints once per process that a text cannot be drawn completely."""
    if _noted:
        return
    _noted.append(text)
    print(
        f"note: no installed font has all characters of `{text}`, so images show escapes; install a font for its script"
        " (on Debian: apt-get install fonts-noto-cjk)",
        file=sys.stderr,
        flush=True,
    )


@functools.cache
def _open(path: str, size: int) -> Font:
    return PIL.ImageFont.truetype(path, size) if path else PIL.ImageFont.load_default(size)


@functools.cache
def _has_character(font: Font, character: str) -> bool:
    """Returns whether a font has a character: it is drawn differently from a missing character."""
    if character.isspace():
        return True
    shape, missing = font.getmask(character), font.getmask(_NO_CHARACTER)
    return (shape.size, bytes(shape)) != (missing.size, bytes(missing))


@functools.cache
def _find_fonts() -> tuple[str, ...]:
    """Returns the files of fonts in addition to Pillow's own, in the order of preference."""
    return tuple(path for path in _list_candidates() if _is_readable(path))


def _list_candidates() -> list[str]:
    matplotlib = importlib.util.find_spec("matplotlib")  # `find_spec` avoids its slow import.
    folders = (matplotlib.submodule_search_locations or []) if matplotlib else []
    shipped = [os.path.join(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf") for folder in folders]
    ranked = []
    for folder in _SYSTEM_FOLDERS:
        for parent, _, names in os.walk(os.path.expanduser(folder)):
            for name in names:
                rank = next((place for place, start in enumerate(_SYSTEM_FONTS) if name.lower().startswith(start)), None)
                if rank is not None and name.lower().endswith((".ttf", ".ttc", ".otf")):
                    ranked.append((rank, "regular" not in name.lower(), os.path.join(parent, name)))
    return [*shipped, *(path for *_, path in sorted(ranked))]


def _is_readable(path: str) -> bool:
    try:
        PIL.ImageFont.truetype(path, 12)
    except OSError:
        return False
    return True
