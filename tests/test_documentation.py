"""The documentation site: the table of experiments, links between files of the repository, and that it builds without a warning."""

import re
import subprocess
import sys
import types

import pytest

pytest.importorskip("mkdocs", reason="requirements-docs.txt is not installed")


@pytest.fixture(scope="module")
def hooks(repository):
    """The hooks of the site, as MkDocs loads them."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("documentation_hooks", repository / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_experiment_is_described(hooks, repository):
    found = {experiment.name: experiment for experiment in hooks.read_experiments()}
    assert sorted(found) == sorted(path.stem for path in (repository / "experiments").glob("*.yaml"))
    assert {experiment.architecture for experiment in found.values()} == {"deeplab", "maskrcnn"}
    for experiment in found.values():
        assert experiment.summary.endswith(".") and {"command", "hardware"} <= set(experiment.fields), experiment.name
    assert found["maskrcnn_coco_3x"].extends == "maskrcnn_coco" and found["maskrcnn_coco_3x"].architecture == "maskrcnn"
    page = hooks.experiments_page()
    assert page.count("| [`") == len(found) and page.count("\n### `") == len(found)


def test_the_parts_of_a_header(hooks):
    lines = ["A model: small,", "and fast.", "", "command:   python x.py \\", "             --flag=1", "score:     not measured"]
    assert hooks._header(lines) == (
        "A model: small, and fast.",
        {"command": "python x.py \\\n             --flag=1", "score": "not measured"},
    )


@pytest.mark.parametrize(
    ("page", "line", "expected"),
    [
        ("index.md", "see [d](docs/own_data.md#a-b)", "see [d](own_data.md#a-b)"),
        ("index.md", "![i](docs/images/maskrcnn_shapes.png)", "![i](images/maskrcnn_shapes.png)"),
        ("index.md", "a [notebook](notebooks/deeplab_tutorial.ipynb).", "a `notebook`."),
        ("tpu/host.md", "[r](../../README.md) [p](preflight.md)", "[r](../index.md) [p](preflight.md)"),
        ("converters.md", "[d](../docs/own_data.md)", "[d](own_data.md)"),
        ("own_data.md", "[c](../data/README.md)", "[c](converters.md)"),
        ("own_data.md", "[a](#here) [w](https://arxiv.org/abs/1)", "[a](#here) [w](https://arxiv.org/abs/1)"),
        ("index.md", "[x](docs/no_such_page.md)", "[x](no_such_page.md)"),
    ],
)
def test_links(hooks, page, line, expected):
    name = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=page))
    assert hooks.on_page_markdown(f"{line}\n```\n[a](docs/own_data.md)\n```\n{line}", name, None, None) == (
        f"{expected}\n```\n[a](docs/own_data.md)\n```\n{expected}"
    )


def test_the_site_builds_and_fetches_nothing(repository, tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, env={"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0 and not done.stderr, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "experiments.html", "tpu/reports.html", "api/library.html", "changelog.html"} <= set(pages)
    for name, text in pages.items():
        assert not re.search(r'<(?:script|img|iframe)[^>]* src="?(?:https?:)?//', text), name
        assert not re.search(r'<link[^>]* rel="?(?:stylesheet|preload|preconnect)[^>]* href="?(?:https?:)?//', text), name
    for name in ("train", "load", "ImagePredictor", "Objects"):
        assert f'id="tpuseg.{name}"' in pages["api/library.html"]
