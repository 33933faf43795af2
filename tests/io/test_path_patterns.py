"""Patterns of files: brackets in names of files that exist, folders that are never patterns, and any number of folders."""

import pytest
import tensorflow as tf

from tpuseg.io import path_patterns

FILES = (
    *("a.jpg", "b.jpg", "br[1].jpg", "br1.jpg", "what?.png"),
    *("sub/c.jpg", "sub/deep/d.jpg", "data [v1]/e.jpg", "data [v1]/f*.jpg"),
)


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    root = str(tmp_path / "root [x]*?") if request.param == "local" else f"ram://{tmp_path.name}/root [x]"
    for name in FILES:
        path = f"{root}/{name}"
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(path, "w") as file:
            file.write("x")
    return root


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.jpg", ["a.jpg"]),
        ("br[1].jpg", ["br[1].jpg"]),  # The file of this name, and not the one that it matches as a pattern.
        ("br[12].jpg", ["br1.jpg"]),
        ("?.jpg", ["a.jpg", "b.jpg"]),
        ("what?.png", ["what?.png"]),
        ("data [v1]/*.jpg", ["data [v1]/e.jpg", "data [v1]/f*.jpg"]),
        ("data [v1]/f*.jpg", ["data [v1]/f*.jpg"]),
        ("sub/**/*.jpg", ["sub/c.jpg", "sub/deep/d.jpg"]),
        ("**/d.jpg", ["sub/deep/d.jpg"]),
        ("**/[cd].jpg", ["sub/c.jpg", "sub/deep/d.jpg"]),
        ("sub", []),
        ("none-*.jpg", []),
        ("[", []),
    ],
)
def test_what_a_pattern_names(pattern, names, folder):
    expected = [f"{folder}/{name}" for name in names]
    assert path_patterns.find(pattern, folder) == expected
    if "**" not in pattern:  # As part of the pattern, the folder's own characters are only tried when nothing else matches.
        assert set(path_patterns.find(f"{folder}/{pattern}")) <= set(expected)


def test_a_whole_path_with_brackets(tmp_path):
    (tmp_path / "br [x]").mkdir()
    (tmp_path / "br [x]/a[1].jpg").write_text("")
    assert path_patterns.find(str(tmp_path / "br [x]/a[1].jpg")) == path_patterns.find(str(tmp_path / "br [x]/*.jpg"))
    assert len(path_patterns.find(str(tmp_path / "**/*.jpg"))) == 1
