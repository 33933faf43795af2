import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from tpuseg.report import labels_csv
from tpuseg.report.content import LabelToCheck


def label(**values):
    usual = {"image_id": "9", "name": "a.jpg", "annotation_id": "4", "kind": "other class", "score": 0.5, "text": "t"}
    return LabelToCheck(**(usual | {"box": (1, 2, 3, 4.25)} | values))


def test_the_file(tmp_path):
    path = tmp_path / "report" / labels_csv.FILE
    labels_csv.write(str(path), [label(), label(name="b, c.jpg", annotation_id="-1", text="=1+1", box=None, score=1 / 3)])
    assert path.read_text() == (
        "image,annotation_id,type,score,image_id,text,y0,x0,y1,x1\n"
        "a.jpg,4,other class,0.5000,9,t,1.0,2.0,3.0,4.2\n"
        '"b, c.jpg",-1,other class,0.3333,9,\'=1+1,,,,\n'
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_name_is_one_cell(name):
    _, row = csv.reader(io.StringIO(labels_csv.to_csv([label(name=name)]), newline=""))
    assert len(row) == 10 and row[1:3] == ["4", "other class"]
    assert row[0].isprintable() and not row[0].startswith(("=", "@"))
    assert not name.isprintable() or row[0] in (name, "'" + name)
