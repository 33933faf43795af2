"""Reading XML files of other programs without the unsafe features of XML: declarations of entities are an error.

The standard library's parser accepts declarations of entities, which can expand a small file to gigabytes. This module uses the
same parser (expat), but rejects them. No other files are read.
"""

import xml.etree.ElementTree as ElementTree
from typing import NoReturn
from xml.parsers import expat

# Label files have five levels.
_MAX_DEPTH = 100


class _TooDeepError(ValueError):
    """Elements are nested too deeply."""


class _EntityError(ValueError):
    """The file declares an entity."""


class _Builder(ElementTree.TreeBuilder):
    """Builds a tree with a limited depth."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> ElementTree.Element:  # type: ignore[override]
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _TooDeepError
        return super().start(tag, attributes)

    def end(self, tag: str) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def read(path: str, what: str) -> ElementTree.Element:
    """Reads an XML file, and returns its root element.

    Args:
      path: path of the file on a local disk.
      what: kind of the file, for messages: `label file`.

    Raises:
      ValueError: the file does not exist, is not XML, declares entities, or is nested too deeply; the message names file and line.
    """
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
        return builder.close()
    except FileNotFoundError:
        raise ValueError(f"there is no {what} {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a {what}") from None
    except _EntityError:
        raise ValueError(f"{path}:{parser.CurrentLineNumber}: declares an entity, which no {what} needs; remove it") from None
    except _TooDeepError:
        raise ValueError(f"{path}:{parser.CurrentLineNumber}: is nested too deeply to be a {what}") from None
    except (expat.ExpatError, ValueError, LookupError) as error:
        said = str(error) or type(error).__name__
        raise ValueError(f"{path}:{parser.CurrentLineNumber}: is not valid XML ({said}); export the {what} again") from None


def _refuse_entity(*declaration: object) -> NoReturn:
    raise _EntityError
