// The page that compares runs: metrics with intervals, images side by side, and settings that differ.

function createMetric(metric) {
  const low = Math.min(...metric.values.map(value => value.low ?? value.value)), high = Math.max(...metric.values.map(value => value.high ?? value.value));
  const place = value => 2 + 96 * (high > low ? (value - low) / (high - low) : 0.5);
  const rows = data.runs.map((run, number) => {
    const value = metric.values[number], hasRange = value.low !== null && value.high !== null;
    const bar = createSvg("svg", { class: "interval", "aria-hidden": "true" },
      createSvg("line", { class: "track", x1: "2%", x2: "98%", y1: 11, y2: 11 }),
      ...(hasRange ? [createSvg("line", { class: "range", x1: `${place(value.low)}%`, x2: `${place(value.high)}%`, y1: 11, y2: 11 })] : []),
      ...(value.value !== null ? [createSvg("circle", { cx: `${place(value.value)}%`, cy: 11, r: 5 })] : []));
    return create("tr", {}, create("th", { scope: "row" }, run), create("td", { class: "number" }, formatFixed(value.value)),
      create("td", { class: "number" }, formatRange(value)), create("td", {}, bar), createDifference(metric, number));
  });
  const heads = ["Run", "Value", "95 % interval", "", "Difference to the first run"].map(name => create("th", { scope: "col" }, name));
  return create("div", { class: "part wide metric" }, create("h3", {}, metric.name),
    create("div", { class: "scroll" }, create("table", { class: "sorted" }, create("thead", {}, create("tr", {}, ...heads)), create("tbody", {}, ...rows))));
}

/** Formats a number so that a column of numbers has the same digits. */
function formatFixed(value) {
  return value !== null && Math.abs(value) < 100 ? value.toFixed(3) : format(value);
}

function formatRange(interval) {
  return interval.low === null ? "–" : `${formatFixed(interval.low)} to ${formatFixed(interval.high)}`;
}

/** A difference whose interval does not contain 0 is called better or worse. */
function createDifference(metric, number) {
  const difference = metric.differences[number];
  if (!difference || difference.value === null) return create("td", {}, number ? "not the same images" : "");
  const sign = difference.low > 0 ? 1 : difference.high < 0 ? -1 : 0, isBetter = sign > 0 === metric.higher_is_better;
  const word = !sign ? "not clear" : isBetter ? "better" : "worse", shown = `${difference.value > 0 ? "+" : ""}${formatFixed(difference.value)}`;
  return create("td", { class: sign ? word : null }, `${shown} (${formatRange(difference)}), ${word}`);
}

function createPair(pair) {
  const first = pair * data.runs.length, all = Array.from({ length: numCards }, (_, card) => card);
  const shown = data.runs.map((run, number) => {
    const card = first + number, errors = describeErrors(card) || "no errors";
    return create("article", { class: "card", "data-card": card }, createPicture(card, () => viewer.open(all, card), () => 0),
      create("div", { class: "about" }, create("strong", {}, run), create("p", { class: "quiet" }, `Quality ${cards.scores[card].toFixed(2)}, ${errors}`)));
  });
  return create("article", { class: "pair" }, create("h3", {}, cards.names[first]), create("div", { class: "cards" }, ...shown));
}

function startComparison() {
  const metrics = document.getElementById("metrics"), images = document.getElementById("tab-differences"), settings = document.getElementById("tab-settings");
  metrics.className = "parts";
  metrics.append(...data.metrics.map(createMetric));
  createToggles(images.querySelector(".toggles"));
  createLegend(images.querySelector(".legend ul"));
  const numPairs = data.runs.length ? numCards / data.runs.length : 0;
  images.querySelector(".count").textContent = numPairs ? `${count(numPairs, "image")}, the largest difference first` : "The predictions do not differ.";
  new Portions(images.querySelector(".pairs"), images.querySelector(".more"), 12, createPair).show(Array.from({ length: numPairs }, (_, pair) => pair));
  if (!data.settings.length) settings.append(create("p", {}, "The configurations are the same."));
  else settings.append(create("div", { class: "part wide" }, createTable({ title: "Settings that differ", columns: ["Setting", ...data.runs], rows: data.settings })));
}
