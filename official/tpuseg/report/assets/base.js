// What all parts of the page use: creating elements, numbers as texts, the tooltip, and work that waits until a part is visible.

const data = window.tpusegData ?? stop(document.querySelector("script[src]").getAttribute("src"));

/** Says above the page which file cannot be read. */
function reportMissing(file) {
  const text = `${file} cannot be read. Keep all files of the report together, or write the report again.`;
  document.querySelector("main").before(create("p", { class: "notice", role: "alert" }, text));
}

function stop(file) {
  reportMissing(file);
  throw new Error(`${file} cannot be read`);
}

/** Creates an HTML element. Texts become text nodes, so that names cannot contain elements. */
function create(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Creates an SVG element. */
function createSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Formats a value for people: integers as they are, other numbers with about three digits. */
function format(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size < 0.001) return value.toExponential(1);
  return String(Number(value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3)));
}

function count(number, one, several = one + "s") {
  return `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
}

const tip = document.getElementById("tip");

/** Shows a text beside a point of the window. */
function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), width = document.documentElement.clientWidth;
  tip.style.left = `${Math.max(4, Math.min(x + 14, width - box.width - 4))}px`;
  tip.style.top = `${Math.max(4, y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18)}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** Calls `onShow` when an element becomes visible, and `onHide`, if there is one, when it is no longer. */
function watch(element, onShow, onHide = null) {
  element.watched = { onShow, onHide };
  watcher.observe(element);
}

const watcher = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const { onShow, onHide } = entry.target.watched;
    if (entry.isIntersecting) onShow();
    else if (onHide) onHide();
    if (entry.isIntersecting && !onHide) watcher.unobserve(entry.target);
  }
}, { rootMargin: "300px" });

/** Shows a list in portions: the next one when its end becomes visible or the button is pressed. */
class Portions {
  constructor(list, more, size, render) {
    Object.assign(this, { list, more, size, render, items: [], shown: 0 });
    more.querySelector("button").addEventListener("click", () => this.extend());
    new IntersectionObserver(entries => entries.some(entry => entry.isIntersecting) && this.extend(), { rootMargin: "600px" }).observe(more);
  }

  show(items) {
    Object.assign(this, { items, shown: 0 });
    this.list.replaceChildren();
    this.extend();
  }

  extend() {
    const next = this.items.slice(this.shown, this.shown + this.size);
    this.list.append(...next.map(item => this.render(item)));
    this.shown += next.length;
    this.more.hidden = this.shown >= this.items.length;
  }
}

/** Decodes numbers in base64, lowest byte first, as the processors of all current browsers have them. */
function decode(text, Type) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Type(bytes.buffer);
}
