"""Names of classes from flags and files: what is no name is said or refused."""

import pytest

from tpuseg import class_names


def test_names_with_commas():
    assert class_names.read("") == []
    assert class_names.read(" sky, road ,car") == ["sky", "road", "car"]
    assert class_names.read("sky,road,") == ["sky", "road"]
    assert class_names.read("bus/truck,U.S. flag") == ["bus/truck", "U.S. flag"]
    with pytest.raises(ValueError, match="--class_names=sky,,car: name 2 is empty"):
        class_names.read("sky,,car")


@pytest.mark.parametrize("text", ["lables.txt", "lists/labels", "labels.TXT", "C:\\labels", "classes.names", "sky,labels.csv"])
def test_a_misspelt_file_is_no_class(text):
    with pytest.raises(ValueError, match="there is no file"):
        class_names.read(text)


def test_a_file_of_labelme(tmp_path, capsys):
    path = tmp_path / "labels.txt"
    path.write_bytes("__ignore__\r\n_background_\r\n\r\nGröße\r\n\r\n\r\n".encode("utf-16"))
    assert class_names.read(str(path)) == ["_background_", "Größe"]
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: 1 blank lines are left out; class ids count the 2 names",
        f"{path}: `__ignore__` is no class and left out; the first class (id 0) is `_background_`",
    ]
    assert class_names.read("__ignore__,a,b") == ["a", "b"]
    assert capsys.readouterr().out == "--class_names: `__ignore__` is no class and left out\n"


def test_files_without_names(tmp_path):
    path = tmp_path / "labels.txt"
    for text, said in (("\n\n", "names no class"), ("a,b,c\n", "one line with commas"), ("__ignore__\n", "names no class")):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"labels.txt .*{said}|labels.txt {said}|labels.txt has {said}"):
            class_names.read(str(path))
    with pytest.raises(ValueError, match="is a folder, not a file of class names"):
        class_names.read(str(tmp_path))
