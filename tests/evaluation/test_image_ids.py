"""Ids of an annotation file for predictions: found by file names, in the file's own type."""

import json
import unicodedata

import pytest

from tpuseg.evaluation import image_ids


def annotations(tmp_path, ids):
    path = tmp_path / "ann.json"
    path.write_text(json.dumps({"images": [{"id": own, "file_name": name} for name, own in ids.items()]}))
    return str(path)


def ids_of(tmp_path, listed, paths, names=None):
    return image_ids.of_images(paths, names or dict(zip(paths, paths, strict=True)), annotations(tmp_path, listed))


def test_ids_come_from_the_file_in_its_own_types(tmp_path):
    listed = {"1.png": 4, "2.png": "000003", "3.png": -2, "4.png": "1"}
    found = ids_of(tmp_path, listed, ["/data/1.png", "/data/2.png", "/data/3.png", "/data/4.png"])
    assert list(found.values()) == [4, "000003", -2, "1"]


def test_the_longest_common_end_of_the_names_decides(tmp_path):
    listed = {"a/1.png": 1, "b/1.png": 2, "train\\c\\2.png": 3}
    assert list(ids_of(tmp_path, listed, ["/x/a/1.png", "/x/b/1.png", "2.png"]).values()) == [1, 2, 3]
    with pytest.raises(ValueError, match=r"ann.json: `/x/1.png` matches `a/1.png` and `b/1.png`; predict a folder"):
        ids_of(tmp_path, listed, ["/x/1.png"])


def test_images_that_the_file_does_not_list_are_left_out_and_said(tmp_path, capsys):
    assert ids_of(tmp_path, {"1.png": 7}, ["1.png", "2.png"]) == {"1.png": 7}
    assert "1 of 2 images is not in" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"ann.json lists 0 of 1 image, for example '2.png'"):
        ids_of(tmp_path, {"1.png": 7}, ["2.png"])


def test_a_name_under_two_ids_is_refused(tmp_path):
    path = tmp_path / "ann.json"
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "1.png"}]}))
    with pytest.raises(ValueError, match=r"ann.json: `1.png` has two ids, 1 and 2"):
        image_ids.of_images(["1.png"], {"1.png": "1"}, str(path))


def test_without_a_file_digits_are_the_id():
    names = {"/x/000139.jpg": "000139", "/x/cat.jpg": "cat"}
    assert image_ids.of_images(list(names), names, "") == {"/x/000139.jpg": 139, "/x/cat.jpg": "cat"}


def test_names_in_another_spelling(tmp_path):
    listed = {"a%20b.png": 1, unicodedata.normalize("NFD", "Größe.png"): 2, "IMG_1.PNG": 3, "x.png": 4, "X.png": 5}
    paths = ["p/a b.png", unicodedata.normalize("NFC", "p/Größe.png"), "p/img_1.png", "p/x.png"]
    assert ids_of(tmp_path, listed, paths) == dict(zip(paths, [1, 2, 3, 4], strict=True))
    with pytest.raises(ValueError, match="x.PNG` matches `x.png` and `X.png`"):
        ids_of(tmp_path, listed, ["p/x.PNG"])
