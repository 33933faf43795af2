"""Names of classes from flags and files: what is no name is said or refused."""

import pytest

from tpuseg.data import class_names


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
        f"{path}: 1 blank line is left out; class ids count the 2 names",
        f"{path}: `__ignore__` is not a class and is left out; the first class (id 0) is `_background_`",
    ]
    assert class_names.read("__ignore__,a,b") == ["a", "b"]
    assert capsys.readouterr().out == "--class_names: `__ignore__` is not a class and is left out\n"


def test_files_without_names(tmp_path):
    path = tmp_path / "labels.txt"
    empty = "contains no class names"
    for text, said in (("\n\n", empty), ("a,b,c\n", "one line with commas"), ("__ignore__\n", empty)):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"labels.txt .*{said}|labels.txt {said}|labels.txt has {said}"):
            class_names.read(str(path))
    with pytest.raises(ValueError, match="is a folder, not a file of class names"):
        class_names.read(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("0: sky\n1: road\n", ["sky", "road"], "class 0 is `sky`"),
        ("0\tsky\n1\troad sign\n", ["sky", "road sign"], "class 0 is `sky`"),
        ("0 sky\n1 road\n", ["sky", "road"], "class 0 is `sky`"),
        ("0,sky\n1,road\n", ["sky", "road"], "class 0 is `sky`"),
        ("# classes\nsky\nroad\n", ["sky", "road"], "1 comment line that begins with # is left out"),
        ('"sky",\n"road"\n', ["sky", "road"], "quotation marks"),
        ("2 wheels\n4 wheels\n", ["2 wheels", "4 wheels"], ""),
        ("0 wheels\nroad\n", ["0 wheels", "road"], ""),
        ("#1\n#2\n", ["#1", "#2"], ""),
        ('"sky"\nroad\n', ['"sky"', "road"], ""),
    ],
)
def test_what_other_programs_write_around_names(tmp_path, capsys, text, names, said):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert class_names.read(str(path)) == names
    out = capsys.readouterr().out
    assert said in out and bool(said) == bool(out)


@pytest.mark.parametrize("text", ["1: sky\n2: road\n", "0: sky\n2: road\n", "1\troad\n0\tsky\n"])
def test_numbers_that_are_not_the_ids_are_refused(tmp_path, text):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"labels.txt: `.*` has the number \d, but is name \d"):
        class_names.read(str(path))
