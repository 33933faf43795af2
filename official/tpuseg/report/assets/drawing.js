// Images with their ground truth and predictions, as SVG in the pixels of the image.

const TRUTH = 0, PREDICTION = 1, NO_SCORE = 65535, SCORE_UNIT = 10000, UNITS_PER_SIDE = 20000;
const ERROR_COLORS = { classification: "#ff9f1c", localization: "#ffe14d", both: "#c792ff", duplicate: "#4cc9f0", background: "#ff5d73",
  missed: "#ff7edb" };
const ERROR_TEXTS = {
  classification: "the place is right, the class is wrong",
  localization: "the class is right, the box or mask is too far off",
  both: "the class is wrong and the place is too far off",
  duplicate: "another prediction already found this object",
  background: "there is no labelled object",
  missed: "no prediction found this object",
};
const RIGHT_COLOR = "#4ade80", TRUTH_COLOR = "#ffffff", UNKNOWN_ERROR_COLOR = "#ff5d73";
const isSemantic = data.kind === "semantic";

const cards = data.cards, numCards = cards.ids.length;
const summary = { labels: decode(cards.marks.labels, Uint16Array), scores: decode(cards.marks.scores, Uint16Array),
  sizes: decode(cards.marks.sizes, Uint16Array), codes: decode(cards.marks.codes, Uint8Array) };
// Where the marks of an image start in the summary, and in which chunk they are.
const starts = addUp(cards.counts), chunkStarts = addUp(cards.chunks);
const chunkOfCard = cards.chunks.flatMap((number, chunk) => new Array(number).fill(chunk));

function addUp(numbers) {
  const sums = [0];
  for (const number of numbers) sums.push(sums.at(-1) + number);
  return sums;
}

const chunks = new Map();

/** Returns a promise of the marks of an image, none if their file is missing. The script of a chunk calls `tpusegMarks`. */
async function loadMarks(card) {
  if (!cards.counts[card]) return [];
  const chunk = chunkOfCard[card];
  if (!chunks.has(chunk)) chunks.set(chunk, startLoading(chunk));
  const marks = (await chunks.get(chunk).promise)[card - chunkStarts[chunk]];
  return marks ? decodeMarks(card, marks) : [];
}

function startLoading(chunk) {
  const loading = {};
  loading.promise = new Promise(resolve => {
    loading.resolve = resolve;
    const folder = document.querySelector("script[src]").getAttribute("src").replace(/[^/]*$/, "");
    const script = create("script", { src: `${folder}marks-${String(chunk).padStart(4, "0")}.js` });
    script.addEventListener("error", () => {
      reportMissing(script.getAttribute("src"));
      resolve([]);
    });
    document.head.append(script);
  });
  return loading;
}

window.tpusegMarks = (chunk, marks) => chunks.get(chunk).resolve(marks);

/** Returns the marks of an image. Coordinates are stored in units of the longer side / 20000. */
function decodeMarks(card, [partners, lengths, text]) {
  const values = decode(text, Int16Array), unit = Math.max(...cards.sizes[card]) / UNITS_PER_SIDE;
  let place = 0;
  const take = number => Array.from(values.subarray(place, place += number), value => Number((value * unit).toFixed(2)));
  return partners.map((partner, number) => decodeMark(starts[card] + number, partner, take(4), lengths[number].map(take)));
}

function decodeMark(place, partner, box, polygons) {
  const code = summary.codes[place], score = summary.scores[place] === NO_SCORE ? null : summary.scores[place] / SCORE_UNIT;
  return { kind: code >> 7, error: (code & 127) ? data.errorNames[(code & 127) - 1] : "", label: summary.labels[place], score, box, partner,
    polygons };
}

// What is drawn: shared by all images of the page.
const drawn = isSemantic ? { truth: false, prediction: false, errors: true } : { truth: true, prediction: true, onlyErrors: false };
const TOGGLES = isSemantic
  ? [["truth", "Ground truth"], ["prediction", "Prediction"], ["errors", "Wrong pixels"]]
  : [["truth", "Ground truth"], ["prediction", "Predictions"], ["onlyErrors", "Only errors"]];
const redrawers = new Set();

function createToggles(container) {
  for (const [name, text] of TOGGLES) {
    const box = create("input", { type: "checkbox", name });
    box.checked = drawn[name];
    box.addEventListener("change", () => setDrawn(name, box.checked));
    container.append(create("label", {}, box, text));
  }
}

function setDrawn(name, value) {
  drawn[name] = value;
  document.querySelectorAll(`.toggles input[name=${name}]`).forEach(box => box.checked = value);
  redraw();
}

function redraw() {
  redrawers.forEach(draw => draw());
}

function colorOfMark(mark) {
  if (mark.error) return ERROR_COLORS[mark.error] ?? UNKNOWN_ERROR_COLOR;
  return mark.kind === PREDICTION ? RIGHT_COLOR : TRUTH_COLOR;
}

function isDrawn(mark, lowestScore) {
  if (drawn.onlyErrors && !mark.error) return false;
  return mark.kind === TRUTH ? drawn.truth : drawn.prediction && Math.round(mark.score * SCORE_UNIT) >= lowestScore;
}

function nameOfClass(label) {
  return data.classNames[label];
}

function describeMark(mark) {
  const score = mark.score === null ? "" : ` ${mark.score.toFixed(2)}`;
  return `${mark.kind === TRUTH ? "ground truth" : "prediction"} ${nameOfClass(mark.label)}${score}`;
}

/** Creates the SVG of an image without its marks. */
function createImage(card) {
  const [height, width] = cards.sizes[card];
  const svg = createSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": cards.names[card] });
  svg.append(createSvg("image", { href: cards.images[card], width, height, preserveAspectRatio: "none" }));
  svg.append(createSvg("g", { class: "layers" }));
  return svg;
}

/** Draws layers and marks over an image.
 *
 * `marks` are those of the image, `unit` is the length of a pixel of the screen in the image, `chosen` the number of the emphasised mark,
 * and `hasTags` whether names are written beside the marks that are right, too.
 */
function drawOver(svg, card, marks, { unit, lowestScore = 0, chosen = -1, hasTags = false }) {
  const layer = svg.querySelector(".layers"), [height, width] = cards.sizes[card];
  const urls = cards.layers[card] ?? {}, children = [];
  if (isSemantic) {
    for (const [name] of TOGGLES) {
      if (drawn[name] && urls[name]) {
        const image = createSvg("image", { class: `layer-${name}`, href: urls[name], width, height, preserveAspectRatio: "none" });
        image.style.imageRendering = "pixelated";
        children.push(image);
      }
    }
  }
  const visible = marks.map((mark, number) => [mark, number]).filter(([mark, number]) => number === chosen || isDrawn(mark, lowestScore));
  visible.sort((a, b) => (a[1] === chosen) - (b[1] === chosen) || !!a[0].error - !!b[0].error);
  for (const [mark, number] of visible) children.push(...drawMark(mark, number === chosen));
  for (const [mark, number] of visible) if (hasTags || mark.error) children.push(drawTag(mark, unit, [height, width], hasTags || number === chosen));
  layer.replaceChildren(...children);
}

function drawMark(mark, isChosen) {
  const d = mark.polygons.length ? mark.polygons.map(tracePolygon).join("") : traceBox(mark.box);
  const kind = `${mark.kind === TRUTH ? " truth" : ""}${isChosen ? " chosen" : ""}`;
  const outline = createSvg("path", { class: `outline${kind}`, d, stroke: colorOfMark(mark), "data-error": mark.error || null });
  return [createSvg("path", { class: `halo${isChosen ? " chosen" : ""}`, d }), outline];
}

function tracePolygon(polygon) {
  let path = "";
  for (let i = 0; i < polygon.length; i += 2) path += `${i ? "L" : "M"}${polygon[i]} ${polygon[i + 1]}`;
  return `${path}Z`;
}

function traceBox([y0, x0, y1, x1]) {
  return `M${x0} ${y0}H${x1}V${y1}H${x0}Z`;
}

function drawTag(mark, unit, [height, width], hasName) {
  const score = mark.score === null ? "" : ` ${mark.score.toFixed(2)}`, name = `${shorten(nameOfClass(mark.label), 30)}${score}`;
  const text = hasName ? (mark.error ? `${mark.error}: ${name}` : name) : mark.error;
  const size = 11 * unit, y = placeTag(mark, size, height);
  const left = Math.max(0, Math.min(mark.box[1], width - text.length * 0.63 * size));
  return createSvg("text", { class: "tag", x: left, y, fill: colorOfMark(mark), "font-size": size, "stroke-width": 3 * unit }, text);
}

/** Returns where a name is written: below an object of the ground truth that was found, otherwise above the object, inside of the image. */
function placeTag(mark, size, height) {
  if (mark.kind === TRUTH && !mark.error) return Math.min(mark.box[2] + 1.1 * size, height - 0.3 * size);
  return Math.max(mark.box[0] - 0.3 * size, size);
}

/** Creates the button with an image that is drawn while it is visible; a click opens the large view. */
function createPicture(card, open, lowestScore) {
  const svg = createImage(card), picture = create("button", { type: "button", class: "picture", "aria-label": `Open ${cards.names[card]}` }, svg);
  picture.addEventListener("click", open);
  const draw = async () => {
    const marks = await loadMarks(card);
    if (!redrawers.has(draw)) return;
    const [height, width] = cards.sizes[card];
    const unit = 1 / Math.min(svg.clientWidth / width || 1, svg.clientHeight / height || 1);
    drawOver(svg, card, marks, { unit, lowestScore: lowestScore() });
  };
  watch(picture, () => {
    redrawers.add(draw);
    draw();
  }, () => {
    redrawers.delete(draw);
    svg.querySelector(".layers").replaceChildren();
  });
  return picture;
}

function createLegend(container) {
  const entries = isSemantic
    ? data.classNames.map((name, number) => [`rgb(${data.classColors[number]})`, name, "fill"])
    : [[TRUTH_COLOR, "ground truth (dashed)", "truth"], [RIGHT_COLOR, "right prediction", ""],
      ...data.errorNames.map(name => [ERROR_COLORS[name], `${name}: ${ERROR_TEXTS[name]}`, name === "missed" ? "truth" : ""])];
  for (const [color, text, kind] of entries) {
    const shape = kind === "fill" ? createSvg("rect", { x: 4, y: 3, width: 18, height: 10, fill: color })
      : createSvg("path", { class: `outline ${kind}`, d: "M4 4H22V12H4Z", stroke: color });
    container.append(create("li", {}, createSvg("svg", { viewBox: "0 0 26 16", "aria-hidden": "true" }, shape), text));
  }
}
