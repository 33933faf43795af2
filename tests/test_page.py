"""The page of predictions: what it refers to is there, and names cannot break out of it."""

import html.parser
import json
import os
import urllib.parse

import numpy as np
import PIL.Image

from tpuseg import page


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
            assert thumbnail.size in ((80, 240), (81, 240))
    assert reader.tags.count("article") == 3 and reader.tags.count("script") == 1 and "b" not in reader.tags
    text = " ".join(reader.texts)
    assert "<i>cat" in text and "nothing found" in text and "R & D" in text and "could not be read: <x>.jpg" in text
    assert not any(address.startswith(("http", "/", "data:")) for address in reader.addresses)
    (frames,) = [line for line in text.splitlines() if "const frames = " in line]
    assert [title for _, title in json.loads(frames.partition("= ")[2].rstrip(";"))] == names
