"""The YAML text of an experiment: nesting, comments, and names that could end a comment."""

import yaml

from tpuseg.planning.experiment_file import render
from tpuseg.planning.rules import Choice


def test_values_have_their_reasons():
    choices = [Choice("a.b", [1, 2.5], "why"), Choice("a.c.d", "x: y", "other"), Choice("e", 3e-5, "")]
    text = render(["first", ""], ("base", "because"), choices)
    assert text == (
        "# first\n#\nextends: base  # because\na:\n  b: [1, 2.5]  # why\n  c:\n    d: 'x: y'  # other\ne: 3.0e-05\n"
    )


def test_a_long_reason_stands_above():
    assert render([], ("base", ""), [Choice("a", 1, "x" * 120)]) == f"extends: base\n# {'x' * 120}\na: 1\n"


def test_a_name_cannot_add_lines():
    text = render(["name\ntask: 1"], ("base", ""), [Choice("a", "n\nb", "reason\nb: 2\x85c: 3\u2028d: 4\x07")])
    assert yaml.safe_load(text) == {"extends": "base", "a": "n\nb"}
