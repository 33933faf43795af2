// The start of the page: sections, links between the parts of the page, and the theme.

const tabs = [...document.querySelectorAll("[data-tab]")].map(section => section.dataset.tab);

function isWide(part) {
  if (part.type === "chart") return part.series.length > MOST_SERIES || part.x_names.length > 16;
  return part.columns.length > (part.type === "table" ? 5 : MOST_COLUMNS_WITH_VALUES);
}

function createPart(part) {
  const holder = create("div", { class: isWide(part) ? "part wide" : "part", id: `part-${part.key}` },
    create("h3", {}, part.title));
  if (part.note) holder.append(create("p", { class: "note" }, part.note));
  watch(holder, () => holder.append({ chart: () => new ChartView(part).element, table: () => createTable(part), matrix: () => createMatrix(part) }[part.type]()));
  return holder;
}

function startSections() {
  const contents = document.querySelector(".contents");
  for (const section of data.sections) {
    const id = `section-${section.key}`, link = create("a", { href: "#overview" }, section.title);
    const texts = section.text.map(text => create("p", {}, text));
    const shown = create("section", { id }, create("h2", {}, section.title), ...texts, create("div", { class: "parts" }, ...section.parts.map(createPart)));
    link.addEventListener("click", event => {
      event.preventDefault();
      shown.scrollIntoView();
    });
    contents.append(link);
    document.getElementById("sections").append(shown);
  }
  contents.hidden = data.sections.length < 2;
}

/** Shows the part that the address names: a tab, an image or a label. */
function route() {
  const [name, rest = ""] = location.hash.slice(1).split(/\/(.*)/);
  const shown = tabs.includes(name) ? name : name === "label" && tabs.includes("labels") ? "labels" : name === "image" ? tabs[1] : tabs[0];
  const section = document.getElementById(`tab-${shown}`);
  if (section.hidden) scrollTo(0, 0);
  for (const id of tabs) document.getElementById(`tab-${id}`).hidden = id !== shown;
  document.querySelectorAll("header nav a").forEach(link => {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  if (name === "label" && data.labels) openLabel(Number(rest));
  else if (name === "image") openImage(decodeURIComponent(rest));
  else if (viewer.dialog.open) viewer.close();
}

function openImage(id) {
  const card = cardOfImage.get(id);
  if (card === undefined) return;
  const place = chosenCards.indexOf(card);
  if (place < 0) viewer.open([card], 0);
  else viewer.open(chosenCards, place);
}

function startTheme() {
  const button = document.getElementById("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : dark.matches;
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  dark.addEventListener("change", show);
  show();
}

startTheme();
startSections();
viewer.start();
if (data.page === "comparison") startComparison();
else {
  startCards();
  startLabels();
}
window.addEventListener("hashchange", route);
route();
