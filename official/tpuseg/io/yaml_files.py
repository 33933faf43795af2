"""Reading YAML files in bounded time and memory, with the line of every value.

PyYAML parses the file to a tree of nodes, and this module creates the values, because external files need more checks than
`safe_load` has: aliases that expand endlessly, values nested too deeply, duplicate keys, and numbers that YAML 1.1 interprets in
an unexpected way raise errors that name file and line.
"""

import dataclasses
import re
from typing import Any, NoReturn

import yaml

from tpuseg.io import files
from tpuseg.utils import messages

# A resolved experiment has about 6 kB, 200 values and 6 levels.
MAX_BYTES = 1 << 19
MAX_DEPTH = 40
MAX_VALUES = 20_000
_MAX_KEY = 200
_TAG = "tag:yaml.org,2002:"
# Numbers that YAML 1.1 interprets in base 8 and in base 60.
_OCTAL = re.compile(r"[-+]?0[0-7_]+$")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?$")


@dataclasses.dataclass
class Document:
    """The contents of a YAML file.

    Attributes:
      values: nested dictionaries and lists of strings, numbers, booleans, and None.
      origins: `file:line` of each dotted path.
    """

    values: dict[str, Any]
    origins: dict[str, str]


def read(path: str) -> Document:
    """Reads a YAML file with `key: value` pairs at its top level.

    Raises:
      ValueError: the file is too large or is not text, or `parse` raises an error; the message names file and line.
      OSError: the file cannot be read; the message names it.
    """
    return parse(files.read_text(path, MAX_BYTES), path)


def parse(text: str, name: str) -> Document:
    """Parses the text of a YAML file.

    Args:
      text: content of the file.
      name: name of the file, for messages.

    Returns:
      The values; an empty document for an empty file.

    Raises:
      ValueError: the text is not valid YAML, has no `key: value` pairs at its top level, has a key twice, is nested deeper than
        `MAX_DEPTH`, or contains more than `MAX_VALUES` values (an alias counts each time it is used), an alias inside of the value
        that it repeats, a tag, or a number in base 8 or 60; the message names file and line.
    """
    converter = _Converter(name)
    root = _compose(text, name)
    if root is None:
        return Document({}, {})
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{name} must contain `key: value` pairs at its top level")
    return Document(converter.mapping(root, ""), converter.origins)


def parse_value(text: str, name: str) -> Any:
    """Parses a YAML value, for example `[1, 2]`; raises ValueError like `parse`."""
    root = _compose(text, name)
    return None if root is None else _Converter(name).value(root, "")


def plain_value(text: str, name: str) -> Any:
    """Parses an unquoted YAML scalar, a number, boolean or text with any characters."""
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
    return _Converter(name).value(yaml.ScalarNode(tag, text), "")


class _Loader(yaml.SafeLoader):
    """Builds the tree of nodes with limits of depth and size, because PyYAML builds it recursively."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._num_nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        self._num_nodes += 1
        mark = self.peek_event().start_mark
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"values are nested deeper than {MAX_DEPTH} levels", mark)
        if self._num_nodes > MAX_VALUES:
            raise yaml.composer.ComposerError(None, None, f"there are more than {MAX_VALUES} values", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        said = ", ".join(" ".join(part.split()) for part in (error.context, error.problem) if part)
        hint = "; indent with spaces, not with tabs" if "'\\t'" in said else ""
        raise ValueError(f"{name}{line}: is not valid YAML: {messages.shorten(said)}{hint}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: is not valid YAML: {messages.shorten(' '.join(str(error).split()))}") from error


class _Converter:
    """Converts nodes to values."""

    def __init__(self, name: str) -> None:
        self.origins: dict[str, str] = {}
        self._name = name
        self._num_values = 0
        self._open: set[int] = set()

    def _fail(self, node: yaml.Node, message: str) -> NoReturn:
        raise ValueError(f"{self._locate(node)}: {message}")

    def _locate(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}" if node.start_mark else self._name

    def value(self, node: yaml.Node, path: str) -> Any:
        self._num_values += 1
        if self._num_values > MAX_VALUES:
            self._fail(node, f"aliases expand to more than {MAX_VALUES} values")
        if isinstance(node, yaml.ScalarNode):
            return self._convert_scalar(node)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            self._fail(node, f"the tag `{messages.shorten(node.tag)}` is not supported; write plain lists and `key: value` pairs")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path and f"{path}.")
        self._enter(node)
        items = [self.value(item, path) for item in node.value]
        self._open.discard(id(node))
        return items

    def _enter(self, node: yaml.Node) -> None:
        if id(node) in self._open:
            self._fail(node, "an alias is inside of the value that it repeats")
        self._open.add(id(node))

    def mapping(self, node: yaml.MappingNode, prefix: str) -> dict[str, Any]:
        """Returns the pairs of a mapping, including those of its merge keys (`<<`), and records the line of each."""
        self._enter(node)
        values: dict[str, Any] = {}
        lines: dict[str, str] = {}
        for source in self._find_merged(node):
            self._num_values += 1
            values |= self.mapping(source, prefix)
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                continue
            key, line = self._convert_key(key_node), self._locate(key_node)
            path = f"{prefix}{key}"
            if key in lines:
                self._fail(key_node, f"`{messages.shorten(path)}` is given twice (first at {lines[key]})")
            lines[key] = self.origins[path] = line
            values[key] = self.value(value_node, path)
        self._open.discard(id(node))
        return values

    def _find_merged(self, node: yaml.MappingNode) -> list[yaml.MappingNode]:
        """Returns the mappings of merge keys in increasing order of precedence."""
        found: list[yaml.MappingNode] = []
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                continue
            if found:
                self._fail(key_node, "`<<` is given twice; write `<<: [*first, *second]`")
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    self._fail(key_node, "`<<` merges `key: value` pairs, as in `<<: *name`")
            found += reversed(sources)
        return found

    def _convert_key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._fail(node, "a key must be a word, not a list or `key: value` pairs")
        if len(node.value) > _MAX_KEY:
            self._fail(node, f"a key has {len(node.value)} characters, more than the maximum of {_MAX_KEY}")
        return str(node.value)

    def _convert_scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        said = f"`{messages.shorten(text)}`"
        if kind in ("str", "timestamp", "value", "merge"):
            return text
        if kind in ("int", "float") and _OCTAL.match(text):
            self._fail(node, f"YAML reads {said} in base 8; leave out the 0 in front, or quote it if it is text")
        if kind in ("int", "float") and _BASE_60.match(text):
            self._fail(node, f"YAML reads {said} in base 60; write the number itself, or quote it if it is text")
        if kind not in ("int", "float", "bool", "null"):
            self._fail(node, f"the tag `{messages.shorten(node.tag)}` is not supported; write the plain value")
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (ValueError, KeyError, IndexError, OverflowError, yaml.YAMLError):
            self._fail(node, f"{said} cannot be read as {kind}")


def _is_merge(node: yaml.Node) -> bool:
    return bool(node.tag == f"{_TAG}merge")

