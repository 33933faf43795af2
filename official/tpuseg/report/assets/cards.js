// The cards of the images: sorting, filtering and creating them.

const FIRST_LARGE = [32, 96];
const tab = document.getElementById("tab-images");
const controls = tab?.querySelector("form").elements;
const numErrors = cards.errors.map(counts => counts.reduce((sum, number) => sum + number, 0));

/** Returns the lowest score that is drawn, in the unit of the summary. */
function lowestScore() {
  return controls && !isSemantic ? Math.round(controls.threshold.value * SCORE_UNIT) : 0;
}

function describeErrors(card) {
  const counts = cards.errors[card].map((number, type) => [number, cards.errorNames[type]]).filter(([number]) => number);
  return counts.map(([number, name]) => `${number.toLocaleString("en")} ${name}`).join(", ");
}

function nameOfCard(card) {
  return data.runs ? `${cards.names[card]} – ${data.runs[card % data.runs.length]}` : cards.names[card];
}

function sizeClass(size) {
  return size < FIRST_LARGE[0] ? 0 : size < FIRST_LARGE[1] ? 1 : 2;
}

/** Reads the filters. Null means that a filter is not used. */
function readFilters() {
  const read = name => controls[name] && controls[name].value !== "" ? controls[name].value : null;
  const number = value => value === null ? null : Number(value);
  const threshold = Number(controls.threshold.value);
  return { label: number(read("label")), error: read("error"), size: number(read("size")), name: (read("name") ?? "").toLowerCase(),
    lowest: isSemantic || !threshold ? null : lowestScore(), quality: isSemantic ? threshold : 1 };
}

function matches(card, filters) {
  if (filters.name && !cards.names[card].toLowerCase().includes(filters.name)) return false;
  if (cards.scores[card] > filters.quality) return false;
  const { label, error, size, lowest } = filters;
  if (isSemantic || !cards.counts[card]) return size === null && lowest === null && matchesCounts(card, filters);
  if (label === null && error === null && size === null && lowest === null) return true;
  for (let mark = starts[card]; mark < starts[card + 1]; mark++) if (matchesMark(mark, filters)) return true;
  return false;
}

function matchesCounts(card, { label, error }) {
  if (label !== null && !cards.labels[card].includes(label)) return false;
  if (error === "any") return numErrors[card] > 0;
  return error === null || cards.errors[card][cards.errorNames.indexOf(error)] > 0;
}

/** Returns whether an object meets all filters at the same time. Ground truth has no score, so it does not reach a lowest score. */
function matchesMark(mark, { label, error, size, lowest }) {
  if (label !== null && summary.labels[mark] !== label) return false;
  if (size !== null && sizeClass(summary.sizes[mark]) !== size) return false;
  if (lowest !== null && (summary.scores[mark] === NO_SCORE || summary.scores[mark] < lowest)) return false;
  const code = summary.codes[mark] & 127;
  if (error === "any") return code > 0;
  return error === null || (code > 0 && data.errorNames[code - 1] === error);
}

const ORDERS = {
  worst: (a, b) => cards.scores[a] - cards.scores[b],
  best: (a, b) => cards.scores[b] - cards.scores[a],
  errors: (a, b) => numErrors[b] - numErrors[a],
  objects: (a, b) => numObjects(b) - numObjects(a),
  name: (a, b) => compareNames(cards.names[a], cards.names[b]),
};
const compareNames = new Intl.Collator("en", { numeric: true }).compare;

function numObjects(card) {
  return isSemantic ? cards.labels[card].length : cards.counts[card];
}

let chosenCards = [];

function describeChoice(filters) {
  if (chosenCards.length) return `${chosenCards.length.toLocaleString("en")} of ${count(numCards, "image")}`;
  const reason = filters.error === "missed" && filters.lowest !== null ? "missed objects have no score; set the lowest score to 0" : "remove one";
  return `None of ${count(numCards, "image")} meets all filters: ${reason}.`;
}

function createCard(card, place) {
  const errors = cards.errors[card].flatMap((number, type) => number ? [createChip(cards.errorNames[type], number)] : []);
  const quality = `Quality ${cards.scores[card].toFixed(2)}`;
  const content = isSemantic ? count(cards.labels[card].length, "class", "classes") : describeObjects(card);
  const link = create("a", { class: "name", href: `#image/${encodeURIComponent(cards.ids[card])}` }, cards.names[card]);
  return create("article", { class: "card", "data-card": card },
    createPicture(card, () => viewer.open(chosenCards, place), lowestScore),
    create("div", { class: "about" }, link, create("p", { class: "quiet" }, `${quality}, ${content}`),
      create("div", { class: "chips" }, ...(errors.length || isSemantic ? errors : ["no errors"]))));
}

function describeObjects(card) {
  let truths = 0;
  for (let mark = starts[card]; mark < starts[card + 1]; mark++) truths += !(summary.codes[mark] >> 7);
  return `${count(truths, "object")}, ${count(cards.counts[card] - truths, "prediction")}`;
}

function createChip(name, number) {
  return create("span", { class: "chip" }, create("i", { style: `background:${ERROR_COLORS[name] ?? UNKNOWN_ERROR_COLOR}` }),
    `${number.toLocaleString("en")} ${name}`);
}

function startCards() {
  for (const [number, name] of data.classNames.entries()) controls.label.append(create("option", { value: number }, name));
  const occurring = cards.errorNames.filter((_, type) => cards.errors.some(counts => counts[type]));
  for (const name of occurring) controls.error.append(create("option", { value: name }, ERROR_TEXTS[name] ? `${name}: ${ERROR_TEXTS[name]}` : name));
  createToggles(tab.querySelector(".toggles"));
  createLegend(tab.querySelector(".legend ul"));
  const portions = new Portions(tab.querySelector(".cards"), tab.querySelector(".more"), 48, place => createCard(chosenCards[place], place));
  const form = tab.querySelector("form");
  form.querySelector(".errors").hidden = !occurring.length;
  const update = () => {
    const filters = readFilters(), all = Array.from({ length: numCards }, (_, card) => card);
    chosenCards = all.filter(card => matches(card, filters)).sort(ORDERS[controls.sort.value]);
    tab.querySelector(".count").textContent = describeChoice(filters);
    form.querySelector("output").textContent = Number(controls.threshold.value).toFixed(2);
    portions.show(chosenCards.map((_, place) => place));
  };
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  form.addEventListener("submit", event => event.preventDefault());
  update();
}
