"""Hooks of the documentation site: pages made of files outside of docs/, and the table of experiments from the YAML headers."""

import pathlib
import posixpath
import re
from typing import Any, NamedTuple

import yaml
from mkdocs.structure.files import File, Files

_ROOT = pathlib.Path(__file__).resolve().parent.parent
# Pages of the site that are files elsewhere in the repository.
_PAGES = {
    "README.md": "index.md",
    "data/README.md": "converters.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_SOURCES = {page: source for source, page in _PAGES.items()}
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^(\s*)(```|~~~)")
_FIELD = re.compile(r"(\w+):\s+(.*)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not in docs/."""
    for source, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text()))
    files.append(File.generated(config, "experiments.md", content=experiments_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Makes links between files of the repository links between pages; those to other files become plain text."""
    uri = page.file.src_uri
    source = _SOURCES.get(uri, f"docs/{uri}")
    lines, fence = [], ""
    for line in markdown.split("\n"):
        match = _FENCE.match(line)
        if match and fence in ("", match[2]):
            fence = "" if fence else match[2]
        lines.append(line if fence or match else _LINK.sub(lambda link: _rewritten(link, source, uri), line))
    return "\n".join(lines)


def _rewritten(link: re.Match[str], source: str, uri: str) -> str:
    target, _, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = _PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
    if page:
        relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{link['image']}[{link['text']}]({relative}{'#' if anchor else ''}{anchor})"
    if (_ROOT / path).exists():
        return f"`{link['text']}`"
    return link[0]  # MkDocs says that there is no such file.


class Experiment(NamedTuple):
    """An experiment as its file describes it.

    Attributes:
      name: Of the file.
      architecture: Its own, or that of the experiment that it extends.
      extends: Name of the experiment that it extends, or empty.
      summary: First paragraph of the header.
      fields: Other parts of the header by name: `records`, `command`, `hardware`, `score` and others.
      text: The file without its header.
    """

    name: str
    architecture: str
    extends: str
    summary: str
    fields: dict[str, str]
    text: str


def read_experiments() -> list[Experiment]:
    """Returns the experiments of the repository, in the order of their names.

    Raises:
      ValueError: The header of a file has no summary.
    """
    documents = {path.stem: path.read_text() for path in sorted((_ROOT / "experiments").glob("*.yaml"))}
    values = {name: yaml.safe_load(text) for name, text in documents.items()}
    found = []
    for name, text in documents.items():
        origin = name
        while "architecture" not in values[origin]:
            origin = values[origin]["extends"]
        lines = text.split("\n")
        size = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
        summary, fields = _header([line[1:].removeprefix(" ") for line in lines[:size]])
        if not summary:
            raise ValueError(f"experiments/{name}.yaml begins without a sentence that describes it; write one into its first line")
        rest = "\n".join(lines[size:]).strip()
        found.append(Experiment(name, values[origin]["architecture"], values[name].get("extends", ""), summary, fields, rest))
    return found


def _header(lines: list[str]) -> tuple[str, dict[str, str]]:
    """Returns the first paragraph of a header, and its fields; further lines of a field are indented."""
    summary: list[str] = []
    fields: dict[str, list[str]] = {}
    current = summary
    for line in lines:
        match = _FIELD.match(line)
        if match and current is not None and (fields or not line.startswith(" ")) and match[1].islower():
            current = fields.setdefault(match[1], [])
            current.append(match[2])
        elif line.strip():
            current.append(line)
    return " ".join(line.strip() for line in summary), {name: "\n".join(rows) for name, rows in fields.items()}


def experiments_page() -> str:
    """Returns the Markdown text of the page of experiments."""
    experiments = read_experiments()
    parts = [
        "# Experiments\n",
        "An experiment is a YAML file; `--experiment=NAME` selects one of these, or the path of your own file, which can begin with"
        " `extends: NAME`. [Configuration](api/configuration.md) describes all keys. Texts and figures of this page come from the"
        " files in `experiments/`.\n",
    ]
    for architecture in sorted({experiment.architecture for experiment in experiments}, reverse=True):
        rows = [experiment for experiment in experiments if experiment.architecture == architecture]
        parts += [f"## {architecture}\n", _table(rows), *map(_details, rows)]
    return "\n".join(parts)


def _table(rows: list[Experiment]) -> str:
    lines = ["| experiment | description | hardware |", "| --- | --- | --- |"]
    for row in rows:
        lines.append(f"| [`{row.name}`](#{row.name}) | {_cell(row.summary)} | {_cell(row.fields.get('hardware', ''))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _details(row: Experiment) -> str:
    """Returns the section of an experiment."""
    parts = [f"### `{row.name}` {{#{row.name}}}\n", row.summary + "\n"]
    for name, text in row.fields.items():
        if name in ("command", "records"):
            parts.append(f"{name.capitalize()}:\n\n```\n{_dedented(text)}\n```\n")
        else:
            parts.append(f"- **{name.capitalize()}**: {_cell(text)}\n")
    extends = f", on top of [`{row.extends}`](#{row.extends})" if row.extends else ""
    body = "\n".join(f"    {line}".rstrip() for line in row.text.split("\n"))
    parts.append(f'??? note "Settings"\n\n    The file has these settings{extends}:\n\n    ```yaml\n{body}\n    ```\n')
    return "\n".join(parts)


def _dedented(text: str) -> str:
    first, *others = text.split("\n")
    width = min((len(line) - len(line.lstrip()) for line in others), default=0)
    return "\n".join([first, *(line[width:] for line in others)])
