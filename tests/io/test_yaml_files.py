"""YAML files of outside people: what is read as people mean it, and what is one line with file and line."""

import codecs

import pytest

from tpuseg.io import files, yaml_files


def values(text):
    return yaml_files.parse(text, "f.yaml").values


def test_values_and_the_line_of_each():
    document = yaml_files.parse("a: 1\nb:\n  c: [x, 2.5, true, null]\n", "f.yaml")
    assert document.values == {"a": 1, "b": {"c": ["x", 2.5, True, None]}}
    assert document.origins == {"a": "f.yaml:1", "b": "f.yaml:2", "b.c": "f.yaml:3"}


def test_merge_keys():
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  a: 5\n  <<: [*x, *y]\nw:\n  <<: *y\n  <<2: 1\n"
    read = values(text)
    assert read["z"] == {"a": 5, "b": 2, "c": 4}  # Its own value first, then the first mapping's.
    assert read["w"] == {"b": 3, "c": 4, "<<2": 1}
    assert yaml_files.parse(text, "f.yaml").origins["z.c"] == "f.yaml:2"


def test_a_date_is_text():
    assert values("a: 2020-01-31") == {"a": "2020-01-31"}


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
MAPPING_BOMB = "a0: &a0 {x: 1, y: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 25))
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 25))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "aliases expand to more than"),
        (MAPPING_BOMB, "aliases expand to more than"),
        (MERGE_BOMB, "aliases expand to more than"),
        ("a: &a [*a]", "f.yaml:1: an alias is inside of the value"),
        ("\na: &a\n  b: *a", "f.yaml:2: an alias is inside"),
        ("a: &a\n  <<: *a", "f.yaml:1: an alias is inside"),
        ("a: " + "[" * 100_000, "f.yaml:1: is not valid YAML: values are nested deeper than 40 levels"),
        ("a: " + "{b: " * 1000, "nested deeper"),
        ("- " * 1000, "nested deeper"),
        ("a: [" + "1," * 30_000 + "]", "there are more than 20000 values"),
        ("a: 0100", "f.yaml:1: YAML reads `0100` in base 8; leave out the 0"),
        ("a: -017", "in base 8"),
        ("a: 10:00", "f.yaml:1: YAML reads `10:00` in base 60"),
        ("a: 1:30.5", "in base 60"),
        ("\na: !foo 3", "f.yaml:2: the tag `!foo` is not supported"),
        ("a: !!python/object/apply:os.system [ls]", "python/object/apply:os.system` is not supported"),
        ("a: !!int abc", "f.yaml:1: `abc` cannot be read as int"),
        ("a: " + "9" * 5000, "cannot be read as int"),
        ("? [a]\n: 1", "f.yaml:1: a key must be a word"),
        ("x" * 300 + ": 1", "a key has 300 characters"),
        ("<<: 5", "`<<` merges `key: value` pairs"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "`<<` is given twice"),
        ("a: *b", "f.yaml:1: is not valid YAML: found undefined alias"),
        ("\ta: 1", "indent with spaces, not with tabs"),
        ("a: \0", "is not valid YAML: unacceptable character"),
        ("- a", "f.yaml must contain `key: value` pairs at its top level"),
        ("a: 1\n---\nb: 1", "expected a single document"),
    ],
)
def test_what_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError) as error:
        values(text)
    assert message in str(error.value) and str(error.value).startswith("f.yaml") and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_byte_order_marks(tmp_path, mark, encoding):
    (tmp_path / "f.yaml").write_bytes(mark + "größe: 1\n".encode(encoding))
    assert yaml_files.read(str(tmp_path / "f.yaml")).values == {"größe": 1}
    (tmp_path / "f.json").write_bytes(mark + '["größe"]'.encode(encoding))
    assert files.read_json(str(tmp_path / "f.json")) == ["größe"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: größe".encode("latin-1"), r"f.yaml:2: is not UTF-8 text \(byte 0xf6\); save the file as UTF-8"),
        ("a: 1".encode("utf-16-le"), "f.yaml: looks like UTF-16 text without a byte order mark"),
        (codecs.BOM_UTF16_LE + b"a", "f.yaml:1: is not UTF-16 text"),
        (b"a" * (1 << 20), "f.yaml is larger than"),
    ],
)
def test_other_encodings_and_huge_files(tmp_path, content, message):
    (tmp_path / "f.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        yaml_files.read(str(tmp_path / "f.yaml"))


@pytest.mark.parametrize("text", ["", "nul", '{"a": 1', "[" * 100_000, "[" + "9" * 5000 + "]"])
def test_json_that_cannot_be_read_names_its_file(tmp_path, text):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(ValueError, match="f.json is"):
        files.read_json(str(tmp_path / "f.json"))


def test_what_cannot_be_opened_names_its_path(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(OSError, match=f"cannot read {path}"):
            files.read_json(str(path))
    with pytest.raises(ValueError, match="the name is not UTF-8"):
        files.exists(str(tmp_path / "\udcff"))
