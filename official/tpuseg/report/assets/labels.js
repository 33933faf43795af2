// The list of labels that are probably wrong.

const cardOfImage = new Map(cards.ids.map((id, card) => [id, card]));

function createSuspect(number) {
  const label = data.labels[number], card = cardOfImage.get(label.image_id);
  const title = create(card === undefined ? "span" : "a", { class: "name", href: card === undefined ? null : `#label/${number}` }, label.name);
  const annotation = label.annotation_id ? ` · annotation ${label.annotation_id}` : "";
  const head = create("p", {}, create("strong", {}, `${number + 1}. ${label.kind}`), ` · ${label.score.toFixed(2)} · `, title, annotation);
  return create("li", {}, createCrop(label, card), create("div", {}, head, create("p", { class: "quiet" }, label.text)));
}

/** Creates a small image of the place; it is read when it becomes visible. */
function createCrop(label, card) {
  const crop = create("span", { class: "crop", "aria-hidden": "true" });
  if (card === undefined) return crop;
  watch(crop, () => {
    const svg = createImage(card);
    if (label.box) {
      const [y0, x0, y1, x1] = label.box, side = Math.max(2 * (x1 - x0), 2 * (y1 - y0), 32), d = traceBox(label.box);
      svg.setAttribute("viewBox", `${(x0 + x1 - side) / 2} ${(y0 + y1 - side) / 2} ${side} ${side}`);
      svg.append(createSvg("path", { class: "halo", d }), createSvg("path", { class: "outline", d, stroke: "#fff200" }));
    }
    crop.replaceChildren(svg);
  });
  return crop;
}

function openLabel(number) {
  const label = data.labels[number], card = cardOfImage.get(label?.image_id);
  if (card !== undefined) viewer.open([card], 0, label.box, `${label.kind}: ${label.text}`);
}

function startLabels() {
  const section = document.getElementById("tab-labels"), kind = section.querySelector("select");
  for (const name of [...new Set(data.labels.map(label => label.kind))]) kind.append(create("option", { value: name }, name));
  const portions = new Portions(section.querySelector(".suspects"), section.querySelector(".more"), 50, createSuspect);
  const update = () => {
    const numbers = data.labels.map((_, number) => number).filter(number => !kind.value || data.labels[number].kind === kind.value);
    section.querySelector(".count").textContent = data.labels.length ? `${numbers.length} of ${count(data.labels.length, "label")}`
      : "No label looks wrong.";
    portions.show(numbers);
  };
  section.querySelector("form").addEventListener("input", update);
  section.querySelector("form").addEventListener("submit", event => event.preventDefault());
  update();
}
