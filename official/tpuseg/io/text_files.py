"""Reading small text files of users and other programs: lists, labelmaps, class names.

Standard library only, so that command-line programs can import it before TensorFlow.
"""

import codecs
import os
import re

# Maximum size, much larger than any list of names.
_LARGEST_BYTES = 64 << 20
# In UTF-16, nearly every second byte of Latin text is zero.
_MOSTLY = 0.7
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # Before UTF-16, whose mark it begins with.
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARK = "\ufeff"
# Control characters, which would break the lines of messages.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")


def read_lines(path: str, what: str) -> list[str]:
    """Reads the lines of a text file in UTF-8 or UTF-16, with or without a byte order mark.

    Args:
      path: path of the file on a local disk.
      what: kind of the file in messages: `list`, `labelmap`.

    Returns:
      The lines without surrounding white space; blank lines are kept, so that the line numbers are those of the file.

    Raises:
      ValueError: the file does not exist, is too large, or is not text in one of these encodings; the message names file and line.
    """
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "no regular file" if os.path.exists(path) else ""
        raise ValueError(f"{path} is {kind}, not a {what}" if kind else f"there is no {what} {path}")
    if os.path.getsize(path) > _LARGEST_BYTES:
        raise ValueError(f"{path} has {os.path.getsize(path)} bytes, too many for a {what}; is it the right file?")
    with open(path, "rb") as file:
        return decode_lines(file.read(), path)


def decode_lines(raw: bytes, path: str) -> list[str]:
    """Decodes the bytes of a text file to lines; see `read_lines`."""
    encoding = _detect_encoding(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        detail = " (is it Latin-1?)" if encoding.startswith("utf-8") else ""
        raise ValueError(f"{path}, line {line}: is not text in {encoding.upper()}{detail}; save the file as UTF-8") from error
    # Not `splitlines`, which also splits at characters that may be part of a name.
    lines = [line.strip().strip(_MARK).strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    for number, text in enumerate(lines, start=1):
        control = _CONTROL.search(text)
        if control:
            raise ValueError(
                f"{path}, line {number}: has the control character U+{ord(control[0]):04X}, so this is not a text file, or it is"
                " damaged; save it as UTF-8"
            )
    return lines


def marked_encoding(raw: bytes) -> str | None:
    """Returns the encoding of the byte order mark, or None."""
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS if raw.startswith(mark)), None)


def _detect_encoding(raw: bytes) -> str:
    """Detects the encoding by the byte order mark, or by zeros in every second byte; otherwise UTF-8."""
    marked = marked_encoding(raw)
    if marked:
        return marked
    half = len(raw) // 2
    if half and not len(raw) % 2:
        even, odd = raw[0::2].count(0) / half, raw[1::2].count(0) / half
        if odd > _MOSTLY and not even:
            return "utf-16-le"
        if even > _MOSTLY and not odd:
            return "utf-16-be"
    return "utf-8"
