"""The HTML page of predictions, which needs no server: thumbnails, the results of each image, and a viewer for frames.

The page refers to the files beside it by relative URLs, and contains its style and its script.
"""

import dataclasses
import html
import io
import json
import os
import urllib.parse
from collections.abc import Sequence

import numpy as np
import PIL.Image

from tpuseg.io import files
from tpuseg.utils.messages import format_count

PAGE_FILE = "index.html"
_THUMBNAIL_FOLDER = "thumbnails"
# Wide enough for the screen of a phone with 390 points of two pixels.
_THUMBNAIL_SIZE = (720, 540)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A row of an image's results.

    Attributes:
      name: name of the class.
      value: displayed text: a score, or a fraction of the pixels.
      color: red, green and blue of the overlay.
      score: score of an object, from 0 to 1; None for classes of pixels.
    """

    name: str
    value: str
    color: tuple[int, int, int]
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image on the page.

    Attributes:
      title: name of the image file.
      size: height and width of the image.
      shown: name of the file in the page's folder that is displayed in full size.
      findings: the results, the most important first.
    """

    title: str
    size: tuple[int, int]
    shown: str
    findings: Sequence[Finding]


def write_thumbnail(folder: str, shown: str, pixels: np.ndarray) -> None:
    """Writes the thumbnail of an entry.

    Args:
      folder: folder of the page.
      shown: the `shown` file of the entry.
      pixels: [H, W, 3] uint8.
    """
    image = PIL.Image.fromarray(pixels)
    image.thumbnail(_THUMBNAIL_SIZE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    files.write_bytes(os.path.join(folder, _name_thumbnail(shown)), buffer.getvalue())


def write(folder: str, entries: Sequence[Entry], heading: str, notes: Sequence[str] = ()) -> str:
    """Writes the page; returns its path.

    Args:
      folder: folder of the shown files and thumbnails.
      entries: the images in the displayed order.
      heading: heading of the page.
      notes: lines below the heading, for example about images that could not be read.
    """
    path = os.path.join(folder, PAGE_FILE)
    lines = "".join(f"<p>{html.escape(note)}</p>\n" for note in notes)
    cards = "\n".join(_render_card(number, entry) for number, entry in enumerate(entries))
    frames = [[_quote_url(entry.shown), entry.title] for entry in entries]
    # `</script>` in a file name would end the script.
    data = json.dumps(frames).replace("<", "\\u003c")
    text = _PAGE.format(
        heading=html.escape(heading),
        notes=lines,
        controls=_render_controls(entries),
        cards=cards,
        style=_STYLE,
        script=_SCRIPT,
        frames=data,
    )
    files.write_text(path, text)
    return path


def _name_thumbnail(shown: str) -> str:
    return f"{_THUMBNAIL_FOLDER}/{shown}.jpg"


def _quote_url(name: str) -> str:
    return urllib.parse.quote(name)


def _render_controls(entries: Sequence[Entry]) -> str:
    """Returns the list of classes and, if findings have scores, the slider."""
    findings = [finding for entry in entries for finding in entry.findings]
    names = sorted({finding.name for finding in findings})
    options = "".join(f"<option>{html.escape(name)}</option>" for name in names)
    # The empty value stands for all classes, because a class may have any name.
    text = f'<label>Class <select><option value="" data-all>all classes</option>{options}</select></label>\n'
    scores = [finding.score for finding in findings if finding.score is not None]
    if scores:
        # Rounded down, so that the left end of the slider hides nothing.
        lowest = int(min(scores) * 100) / 100
        text += (
            f'<label>Score from <input type="range" min="{lowest:.2f}" max="1" step="0.01" value="{lowest:.2f}">'
            f" <output>{lowest:.2f}</output></label>\n<p>Score and class choose what is listed and counted;"
            " the images show everything that was found.</p>\n"
        )
    return text


def _render_card(number: int, entry: Entry) -> str:
    rows = "".join(map(_render_row, entry.findings))
    table = f"<table>{rows}</table>"
    title = html.escape(entry.title)
    return (
        f'<article data-title="{html.escape(entry.title.lower())}"><a href="{_quote_url(entry.shown)}" data-number="{number}">'
        f'<img src="{_quote_url(_name_thumbnail(entry.shown))}" alt="{title}" loading="lazy"></a>'
        f"<h2>{title}</h2><small>{entry.size[1]} x {entry.size[0]}, <strong>{_count_findings(entry.findings)}</strong></small>"
        f"{table}</article>"
    )


def _count_findings(findings: Sequence[Finding]) -> str:
    """Returns the text that the script also creates, for browsers without scripts."""
    if not findings:
        return "nothing found"
    forms = ("class", "classes") if findings[0].score is None else ("object",)
    return format_count(len(findings), *forms)


def _render_row(finding: Finding) -> str:
    score = "" if finding.score is None else f' data-score="{finding.score:.6f}"'
    return (
        f'<tr data-name="{html.escape(finding.name)}"{score}><td><i style="background:rgb{finding.color}"></i>'
        f"{html.escape(finding.name)}</td><td>{html.escape(finding.value)}</td></tr>"
    )


_STYLE = """
body { margin: 1.5rem; font: 15px/1.4 system-ui, sans-serif; color: #222; background: #f6f6f4; }
h1 { font-size: 1.3rem; margin: 0 0 .5rem; }
p { margin: .2rem 0; color: #555; }
form { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; align-items: center; margin: .5rem 0 1rem; }
input, select { font: inherit; padding: .3rem .5rem; max-width: 100%; box-sizing: border-box; }
input[type=search] { width: 20rem; }
input[type=range] { padding: 0; vertical-align: middle; }
form p { flex-basis: 100%; }
tr[hidden] { display: none; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1rem; }
article { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .6rem; }
article[hidden] { display: none; }
article img { width: 100%; height: 180px; object-fit: contain; background: #eee; display: block; }
h2 { font-size: .95rem; margin: .5rem 0 0; overflow-wrap: anywhere; }
small { color: #777; }
table { width: 100%; border-collapse: collapse; display: block; max-height: 11rem; overflow-y: auto; margin-top: .3rem; }
tbody { display: table; width: 100%; }
td { padding: .1rem 0; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border: 1px solid #0004; }
@media (max-width: 600px) {
  body { margin: .8rem; }
  main { grid-template-columns: 1fr; }
  article img { height: auto; max-height: 75vh; }
  label, select, input[type=search], input[type=range] { width: 100%; }
}
dialog { width: 96vw; height: 96vh; max-width: none; max-height: none; padding: 0; border: 0; background: #111; color: #eee; }
dialog img { width: 100%; height: calc(96vh - 3rem); object-fit: contain; display: block; }
dialog div { display: flex; gap: .6rem; align-items: center; height: 3rem; padding: 0 1rem; }
dialog output { flex: 1; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
"""

_SCRIPT = """
const viewer = document.querySelector("dialog"), image = viewer.querySelector("img"), caption = viewer.querySelector("output");
const links = [...document.querySelectorAll("article a")];
let current = 0, timer = null;
const visible = () => links.filter(link => !link.closest("article").hidden).map(link => +link.dataset.number);
function show(number) {
  current = number;
  image.src = frames[number][0];
  caption.textContent = frames[number][1];
}
function step(by) {
  const numbers = visible(), place = numbers.indexOf(current) + by;
  show(numbers[(place + numbers.length) % numbers.length]);
}
function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => image.complete && step(1), 100) : null;
  viewer.querySelector("[name=play]").textContent = on ? "Pause" : "Play";
}
links.forEach(link => link.addEventListener("click", event => {
  event.preventDefault();
  show(+link.dataset.number);
  viewer.showModal();
}));
viewer.addEventListener("close", () => play(false));
viewer.addEventListener("click", event => {
  const actions = { before: () => step(-1), after: () => step(1), play: () => play(!timer), close: () => viewer.close() };
  (actions[event.target.name] || (() => {}))();
});
viewer.addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
const search = document.querySelector("[type=search]"), chosen = document.querySelector("select");
const matching = document.querySelector("[aria-live]");
const slider = document.querySelector("[type=range]");
const kinds = slider ? ["object", "objects"] : ["class", "classes"];
function filter() {
  const word = search.value.toLowerCase(), all = chosen.selectedIndex === 0, lowest = slider ? +slider.value : 0;
  if (slider) slider.parentElement.querySelector("output").textContent = lowest.toFixed(2);
  const asks = !all || (slider && lowest > +slider.min);
  let shown = 0;
  document.querySelectorAll("article").forEach(card => {
    let number = 0, named = card.dataset.title.includes(word);
    card.querySelectorAll("tr").forEach(row => {
      row.hidden = !(all || row.dataset.name === chosen.value) || ("score" in row.dataset && +row.dataset.score < lowest);
      if (!row.hidden) number += 1;
      if (!row.hidden && row.dataset.name.toLowerCase().includes(word)) named = true;
    });
    card.hidden = !named || (asks && number === 0);
    shown += !card.hidden;
    card.querySelector("strong").textContent = number ? `${number} ${kinds[+(number > 1)]}` : "nothing found";
  });
  const total = links.length, images = total === 1 ? "image" : "images";
  const none = `None of ${total} ${images} matches; choose another word, class or score.`;
  matching.textContent = shown ? `${shown} of ${total} ${images}` : none;
}
document.querySelector("form").addEventListener("input", filter);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
filter();
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{style}</style>
</head>
<body>
<h1>{heading}</h1>
{notes}<form>
<input type="search" placeholder="Show images with ..." aria-label="Show images with a class or name" autocomplete="off">
{controls}<p aria-live="polite"></p>
</form>
<main>
{cards}
</main>
<dialog>
<img alt="">
<div><button name="before">Previous</button><button name="play">Play</button><button name="after">Next</button>
<output></output><button name="close">Close</button></div>
</dialog>
<script>
const frames = {frames};
{script}</script>
</body>
</html>
"""
