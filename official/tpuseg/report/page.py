"""The pages of reports and comparisons, which a browser opens from disk without a server.

A page is a folder: `index.html` contains the texts, the style and the script, `images/` the images (thumbnails.py), and
`data-HASH/` everything else as scripts, because a page from disk may load scripts but no other files:

  report.js       charts, tables and a summary of every image
  marks-0000.js   outlines of the objects of some images, which the page loads when one of these images becomes visible

The folder is named by a hash of its content and `index.html` is written last, so a page that is replaced refers at any time to
either the old or the new data.
"""

import hashlib
import importlib.resources
import json
import os
import re
from typing import Any

import jinja2
import tensorflow as tf

from tpuseg.io import files
from tpuseg.report import encoding
from tpuseg.report.comparison import Comparison
from tpuseg.report.content import Report

PAGE_FILE = "index.html"
DATA_FILE = "report.js"
# The parts of the script, in the order in which they need each other.
_SCRIPTS = ("base.js", "charts.js", "tables.js", "drawing.js", "viewer.js", "cards.js", "labels.js", "comparison.js", "main.js")
_DATA_FOLDER = re.compile(r"data-[0-9a-f]{12}/?$")


def write(report: Report, folder: str) -> str:
    """Writes the page of a report.

    Args:
      report: what the page shows. Relative URLs in it refer to `folder`.
      folder: folder of the page, which is created if it does not exist.

    Returns:
      The path of `index.html`.

    Raises:
      ValueError: the report contradicts itself; the message names the part.
      OSError: a file cannot be written.
    """
    texts = {
        "title": report.title,
        "facts": report.facts,
        "advice": report.advice,
        "tabs": _name_tabs(report),
        "has_labels": True,
        "is_semantic": report.kind == "semantic",
    }
    return _write(texts, *encoding.encode_report(report), folder)


def _name_tabs(report: Report) -> list[tuple[str, str]]:
    return [
        ("overview", "Overview"),
        ("images", f"Images ({len(report.cards)})"),
        ("labels", f"Labels to check ({len(report.labels_to_check)})"),
    ]


def write_comparison(comparison: Comparison, folder: str) -> str:
    """Writes the page of a comparison; arguments, result and exceptions are those of `write`."""
    texts = {
        "title": comparison.title,
        "facts": comparison.facts,
        "advice": [],
        "tabs": [
            ("overview", "Metrics"),
            ("differences", f"Images ({len(comparison.differences)})"),
            ("settings", f"Configuration ({len(comparison.settings)})"),
        ],
        "has_labels": False,
        "is_semantic": comparison.kind == "semantic",
    }
    return _write(texts, *encoding.encode_comparison(comparison), folder)


def _write(texts: dict[str, Any], data: dict[str, Any], chunks: list[list[Any]], folder: str) -> str:
    scripts = {f"marks-{number:04d}.js": f"tpusegMarks({number}, {_format_json(chunk)});\n" for number, chunk in enumerate(chunks)}
    scripts[DATA_FILE] = f"window.tpusegData = {_format_json(data)};\n"
    data_folder = f"data-{_hash_scripts(scripts)}"
    for name, script in scripts.items():
        files.write_text(os.path.join(folder, data_folder, name), script)
    path = os.path.join(folder, PAGE_FILE)
    files.write_text(path, _render(texts, data_folder))
    _remove_old_data(folder, data_folder)
    return path


def _format_json(value: object) -> str:
    """Returns compact JSON in ASCII, which is also JavaScript."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _hash_scripts(scripts: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(scripts):
        digest.update(f"{name}\n{len(scripts[name])}\n".encode() + scripts[name].encode())
    return digest.hexdigest()[:12]


def _render(texts: dict[str, Any], data_folder: str) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = "\n".join(map(_read_asset, _SCRIPTS))
    return environment.from_string(_read_asset("page.html")).render(
        **texts,
        data_url=f"{data_folder}/{DATA_FILE}",
        style=_read_asset("page.css"),
        script=f'"use strict";\n(() => {{\n{script}}})();',
    )


def _read_asset(name: str) -> str:
    return (importlib.resources.files("tpuseg.report") / "assets" / name).read_text(encoding="utf-8")


def _remove_old_data(folder: str, current: str) -> None:
    with files.optional("changes to old files of the report"):
        for name in tf.io.gfile.listdir(folder):
            if _DATA_FOLDER.fullmatch(name) and name.rstrip("/") != current:
                tf.io.gfile.rmtree(os.path.join(folder, name.rstrip("/")))
