"""XML files from outside."""

import pytest

from tpuseg.io import xml_files


def test_elements_attributes_and_text(tmp_path):
    (tmp_path / "a.xml").write_bytes('<?xml version="1.0" encoding="utf-16"?><a b="1">t\u00fcr<c/>&lt;&#65;</a>'.encode("utf-16"))
    root = xml_files.read(str(tmp_path / "a.xml"), "label file")
    assert root.tag == "a" and root.attrib == {"b": "1"} and root.text == "t\u00fcr" and root[0].tail == "<A"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a.xml:1: is not valid XML \(no element found"),
        (b"<a>", "a.xml:1: is not valid XML"),
        (b"<a>\n<b></a>", "a.xml:2: is not valid XML"),
        (b"<a/><b/>", "is not valid XML"),
        (b"<a>&b;</a>", "is not valid XML"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "is not valid XML"),
        (b"\xff\xfe\0\0", "is not valid XML"),
        (b'<!DOCTYPE a [\n<!ENTITY b "c">]><a>&b;</a>', "a.xml:2: declares an entity, which no label file needs"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "declares an entity"),
        (b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1/x"> %b;]><a/>', "declares an entity"),
        (b"<a>" * 101 + b"</a>" * 101, "is nested too deeply to be a label file"),
    ],
)
def test_damaged_and_hostile_files(tmp_path, content, message):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        xml_files.read(str(tmp_path / "a.xml"), "label file")


def test_as_deep_as_allowed(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"<a>" * 100 + b"</a>" * 100)
    assert xml_files.read(str(tmp_path / "a.xml"), "label file").tag == "a"


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="there is no label file .*none.xml"):
        xml_files.read(str(tmp_path / "none.xml"), "label file")
    with pytest.raises(ValueError, match="is a folder, not a label file"):
        xml_files.read(str(tmp_path), "label file")
