"""The page of predictions: what it refers to is there, and names cannot break out of it."""

import html.parser
import json
import os
import urllib.parse

import numpy as np
import PIL.Image

from tpuseg.visualization import page


class Reader(html.parser.HTMLParser):
    """Collects addresses, text and the script."""

    def __init__(self):
        super().__init__()
        self.addresses, self.tags, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def test_what_the_page_shows_is_beside_it(tmp_path):
    names = ["plain_overlay.png", "a #1% ü?.png", "x</script><b>.png"]
    entries = []
    for number, name in enumerate(names):
        page.write_thumbnail(str(tmp_path), name.replace("/", "_"), np.full((900, 300 + number, 3), 40 * number, np.uint8))
        findings = [page.Finding("<i>cat", "0.97", (255, 0, 64))] if number else []
        entries.append(page.Entry(name, (900, 300 + number), name.replace("/", "_"), findings))
    path = page.write(str(tmp_path), entries, "R & D", ["could not be read: <x>.jpg"])
    reader = Reader()
    reader.feed(open(path, encoding="utf-8").read())
    decoded = {urllib.parse.unquote(address) for address in reader.addresses}
    assert decoded == {form for entry in entries for form in (entry.shown, f"thumbnails/{entry.shown}.jpg")}
    for entry in entries:
        with PIL.Image.open(os.path.join(tmp_path, "thumbnails", entry.shown + ".jpg")) as thumbnail:
            assert thumbnail.size in ((180, 540), (181, 540))
    assert reader.tags.count("article") == 3 and reader.tags.count("script") == 1 and "b" not in reader.tags
    text = " ".join(reader.texts)
    assert "<i>cat" in text and "nothing found" in text and "R & D" in text and "could not be read: <x>.jpg" in text
    assert not any(address.startswith(("http", "/", "data:")) for address in reader.addresses)
    (frames,) = [line for line in text.splitlines() if "const frames = " in line]
    assert [title for _, title in json.loads(frames.partition("= ")[2].rstrip(";"))] == names


def test_objects_can_be_chosen_by_class_and_score(tmp_path):
    findings = [page.Finding('a"b', "0.97", (1, 2, 3), 0.97), page.Finding("Größe", "0.358", (4, 5, 6), 0.358)]
    path = page.write(str(tmp_path), [page.Entry("x", (2, 2), "x.png", findings), page.Entry("y", (2, 2), "y.png", [])], "P")
    text = open(path, encoding="utf-8").read()
    assert '<option value="" data-all>all classes</option><option>Größe</option><option>a&quot;b</option></select>' in text
    assert 'type="range" min="0.35" max="1"' in text  # Hides nothing at its left end.
    assert '<tr data-name="a&quot;b" data-score="0.970000">' in text and '<tr data-name="Größe" data-score="0.358000">' in text
    assert "<strong>2 objects</strong>" in text and "<strong>nothing found</strong>" in text


def test_classes_of_pixels_have_no_slider(tmp_path):
    entry = page.Entry("x", (2, 2), "x.png", [page.Finding("road", "91.0%", (1, 2, 3))])
    text = open(page.write(str(tmp_path), [entry], "P"), encoding="utf-8").read()
    assert 'type="range" ' not in text and "data-score=" not in text and "<strong>1 class</strong>" in text
