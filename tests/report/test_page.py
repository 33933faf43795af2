"""The files of a page: what they contain, that names cannot change the page, and errors of reports."""

import base64
import dataclasses
import html.parser
import json
import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import report_samples
from report_samples import make_card, mark

from tpuseg.report import content, encoding, page
from tpuseg.report.comparison import Comparison, Metric
from tpuseg.report.content import Chart, Matrix, Section, Series, Table

ODD = "</script><script>alert(1)</script>&\"'{{ 7 }}</style>\u2028"


def make_report(cards=(), sections=(), names=("a", "b"), **changes):
    report = content.Report("Title", "instances", list(names), [], [], list(sections), list(cards), [])
    return dataclasses.replace(report, **changes)


class Reader(html.parser.HTMLParser):
    """Collects tags and texts."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def read_page(path):
    with open(path, encoding="utf-8") as file:
        reader = Reader()
        reader.feed(file.read())
    return reader


def read_data(folder):
    (name,) = [name for name in os.listdir(folder) if name.startswith("data-")]
    with open(os.path.join(folder, name, "report.js")) as file:
        text = file.read()
    assert text.isascii()
    return json.loads(text.removeprefix("window.tpusegData = ").removesuffix(";\n"))


def decode(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype).tolist()


def test_the_values_of_objects():
    marks = [mark("truth", 1, (0, 0, 30, 30), partner=1), mark("prediction", 0, (1, 2, 101, 102), 0.87654, "classification", 0)]
    marks.append(content.Mark("truth", 0, (5, 5, 5, 9), [], None, "missed"))
    worse, better = make_card(0, marks, "images/x.jpg"), dataclasses.replace(make_card(1, [], "y.jpg"), score=1.0)
    data, chunks = encoding.encode_report(make_report([better, worse]))
    cards = data["cards"]
    assert cards["ids"] == ["0", "1"] and cards["counts"] == [3, 0] and cards["labels"] == [[0, 1], []]
    assert cards["errorNames"] == list(content.ERRORS) and cards["errors"] == [[1, 0, 0, 0, 0, 1], [0] * 6]
    assert decode(cards["marks"]["labels"], "<u2") == [1, 0, 0]
    assert decode(cards["marks"]["scores"], "<u2") == [65535, 8765, 65535]
    assert decode(cards["marks"]["sizes"], "<u2") == [30, 100, 0]
    assert decode(cards["marks"]["codes"], "<u1") == [0, 128 + 1, 6]
    partners, lengths, text = chunks[0][0]
    assert partners == [1, 0, -1] and lengths == [[48], [48], []]
    values = np.array(decode(text, "<i2")) * 320 / 20000  # The longer side of the image has 320 pixels.
    assert values[:4] == pytest.approx([0, 0, 30, 30], abs=0.01)
    assert values[52:56] == pytest.approx([1, 2, 101, 102], abs=0.01)
    assert values[4:52] == pytest.approx(marks[0].outline[0], abs=0.01)


def test_scores_are_never_rounded_up():
    # A filter for scores of at least 0.5 must not show 0.49996.
    marks = [mark("prediction", 0, (0, 0, 9, 9), score, "background") for score in (0.49996, 0.5, 0.29, 1.0, 0.0)]
    data, _ = encoding.encode_report(make_report([make_card(0, marks, "x.jpg")]))
    assert decode(data["cards"]["marks"]["scores"], "<u2") == [4999, 5000, 2900, 10000, 0]


def test_objects_are_divided_into_chunks():
    one = mark("truth", 0, (0, 0, 9, 9))
    cards = [make_card(number, [one] * count, "x.jpg") for number, count in enumerate([1500, 500, 1, 3000, 2])]
    cards += [make_card(number, [], "x.jpg") for number in range(5, 60)]
    data, chunks = encoding.encode_report(make_report([dataclasses.replace(card, score=0.5) for card in cards]))
    assert data["cards"]["chunks"] == [len(chunk) for chunk in chunks] == [2, 1, 1, 50, 6]


def test_numbers_that_json_does_not_have(tmp_path):
    series = Series("a", [1.0, 2.0], [float("nan"), np.float32(0.5)])
    matrix = Matrix("m", "M", ["r"], ["c"], [[float("inf")]], "rows", "columns")
    page.write(make_report([], [Section("s", "S", [], [Chart("c", "C", "line", "x", "y", [series]), matrix])]), str(tmp_path))
    chart, matrix = read_data(tmp_path)["sections"][0]["parts"]
    assert chart["series"][0]["y"] == [None, 0.5] and matrix["values"] == [[None]]
    assert chart["type"] == "chart" and matrix["type"] == "matrix"


@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"])) | st.just(ODD))
@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_names_cannot_change_the_page(tmp_path, name):
    folder = tmp_path / "report"
    page.write(make_report(), str(folder))
    tags = [(tag, sorted(attributes)) for tag, attributes in read_page(folder / "index.html").tags]
    card = dataclasses.replace(make_card(name, [], "x.jpg", name=name or "x"), image_id=name)
    facts, advice = [(name, name)], [content.Advice(name, name or "setting")]
    page.write(make_report([card], names=[name], title=name, facts=facts, advice=advice), str(folder))
    odd = read_page(folder / "index.html")
    added = ["dl", "div", "dt", "dd", "h2", "ol", "li", "code"]
    assert [tag for tag, _ in odd.tags if tag not in added] == [tag for tag, _ in tags if tag not in added]
    data = read_data(folder)
    assert data["cards"]["ids"] == [name] and data["classNames"] == [name]


def test_odd_names_are_texts_of_the_page(tmp_path):
    page.write(make_report(title=ODD, facts=[(ODD, "<b>")]), str(tmp_path))
    reader = read_page(tmp_path / "index.html")
    assert reader.texts.count(ODD) == 3 and "<b>" in reader.texts
    assert [tag for tag, _ in reader.tags].count("script") == 2


def test_a_page_fetches_nothing_from_outside(tmp_path):
    page.write(report_samples.make_instances(str(tmp_path), 2), str(tmp_path))
    for tag, attributes in read_page(tmp_path / "index.html").tags:
        for name in ("src", "href"):
            assert "//" not in attributes.get(name, ""), (tag, attributes)


def test_a_page_is_replaced(tmp_path):
    def list_data():
        return sorted(name for name in os.listdir(tmp_path) if name.startswith("data"))

    (tmp_path / "data-of-mine").mkdir()
    assert page.write(make_report(title="One", names=["a"]), str(tmp_path)) == str(tmp_path / "index.html")
    first = list_data()
    page.write(make_report(title="Two", names=["b"]), str(tmp_path))
    second = list_data()
    assert len(first) == len(second) == 2 and set(first) & set(second) == {"data-of-mine"}
    (folder,) = set(second) - {"data-of-mine"}
    assert ("script", {"src": f"{folder}/report.js"}) in read_page(tmp_path / "index.html").tags
    assert sorted(os.listdir(tmp_path / folder)) == ["report.js"]


def test_a_kill_before_the_end_leaves_the_old_page(tmp_path, monkeypatch):
    page.write(make_report(names=["a"]), str(tmp_path))
    before = (tmp_path / "index.html").read_text()
    monkeypatch.setattr(page, "_render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.write(make_report(names=["b"]), str(tmp_path))
    assert (tmp_path / "index.html").read_text() == before
    (url,) = [attributes["src"] for tag, attributes in read_page(tmp_path / "index.html").tags if "src" in attributes]
    assert (tmp_path / url).exists()


def chart(**changes):
    return Section("s", "S", [], [dataclasses.replace(Chart("c", "C", "line", "x", "y", [Series("n", [1.0], [1.0])]), **changes)])


def hold(part):
    return Section("s", "", [], [part])


CARD = make_card(7, [mark("truth", 1, (0, 0, 5, 5))], "x.jpg")


def change_mark(**changes):
    return dataclasses.replace(CARD, marks=[dataclasses.replace(CARD.marks[0], **changes)])


WRONG = {
    "kind is 'boxes'": make_report(kind="boxes"),
    "image_id '7' occurs twice": make_report([CARD, CARD]),
    "key of a section 's' occurs twice": make_report([], [chart(), chart()]),
    "chart 'c': kind is 'pie'": make_report([], [chart(kind="pie")]),
    "series 'n': y has 1 elements for 2 values of x": make_report([], [chart(series=[Series("n", [1.0, 2.0], [1.0])])]),
    "series 'n': x has the value 0.0, which has no place": make_report([], [chart(series=[Series("n", [0.0], [1.0])], log_x=True)]),
    "series 'n': x has the value nan": make_report([], [chart(series=[Series("n", [float("nan")], [1.0])])]),
    "x has the value 1.0, but x_names has 1 elements": make_report([], [chart(x_names=["a"])]),
    "matrix 'm': values has 1 elements for 2 rows": make_report([], [hold(Matrix("m", "", ["a", "b"], [], [[]], "", ""))]),
    "table 't': a row has 1 elements for 2 columns": make_report([], [hold(Table("t", "", ["a", "b"], [[1]]))]),
    r"image '7': size is \(0, 4\)": make_report([dataclasses.replace(CARD, size=(0, 4))]),
    "image '7': score is 1.5": make_report([dataclasses.replace(CARD, score=1.5)]),
    r"image '7': labels is \[2\], but the report has 2 classes": make_report([dataclasses.replace(CARD, labels=[2])]),
    "mark 0: kind is 'guess'": make_report([change_mark(kind="guess")]),
    "mark 0: error is 'late'": make_report([change_mark(error="late")]),
    "mark 0: label is -1": make_report([change_mark(label=-1)]),
    "mark 0: score is 2.0": make_report([change_mark(score=2.0)]),
    "mark 0: partner is 1, but the image has 1 marks": make_report([change_mark(partner=1)]),
    "mark 0: a polygon of the outline has 3 values": make_report([change_mark(outline=[[1.0, 2.0, 3.0]])]),
    "image '7': a box or an outline contains a value that is not finite": make_report([change_mark(box=(0, 0, float("nan"), 1))]),
}


@pytest.mark.parametrize("message", WRONG)
def test_reports_that_contradict_themselves(message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        page.write(WRONG[message], str(tmp_path / "report"))
    assert "\n" not in str(error.value) and not (tmp_path / "report").exists()


def test_a_comparison_has_a_value_for_each_run(tmp_path):
    comparison = Comparison("C", "instances", [], ["a", "b"], [], [Metric("AP", [], [])], [], [], [])
    with pytest.raises(ValueError, match="metric 'AP': values has 0 elements for 2 runs"):
        page.write_comparison(comparison, str(tmp_path))
