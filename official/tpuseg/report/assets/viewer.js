// The large view of an image: zoom, the list of its objects, and keys for the next image and the next error.

const SMALLEST_VIEW = 24;

const viewer = {
  dialog: document.getElementById("viewer"),
  cards: [], place: 0, marks: [], errors: [], chosen: -1, extraBox: null,

  start() {
    this.stage = this.dialog.querySelector(".stage");
    this.said = this.dialog.querySelector(".said");
    createToggles(this.dialog.querySelector(".toggles"));
    this.dialog.addEventListener("click", event => event.target.dataset.do && this[event.target.dataset.do]());
    this.dialog.addEventListener("keydown", event => this.press(event));
    this.dialog.addEventListener("close", () => this.leave());
    this.stage.addEventListener("wheel", event => this.turn(event), { passive: false });
    this.stage.addEventListener("pointerdown", event => this.drag(event));
    new ResizeObserver(() => this.svg && this.draw()).observe(this.stage);
    this.redraw = () => this.draw();
  },

  /** Opens an image: `list` are the images between which arrow keys move, `box` a place that is emphasised, with its text. */
  async open(list, place, box = null, text = "") {
    if (!this.dialog.open) this.dialog.showModal();
    redrawers.add(this.redraw);
    this.cards = list;
    await this.show(place, box, text);
    this.stage.focus();
  },

  close() {
    this.dialog.close();
  },

  leave() {
    redrawers.delete(this.redraw);
    hideTip();
    if (/^#(image|label)\//.test(location.hash)) location.replace(location.hash.startsWith("#label/") ? "#labels" : `#${tabs[1]}`);
  },

  get card() {
    return this.cards[this.place];
  },

  async show(place, box = null, text = "") {
    Object.assign(this, { place, marks: [], errors: [], chosen: -1, extraBox: box });
    const card = this.card;
    this.dialog.querySelector(".name").textContent = nameOfCard(card);
    this.dialog.querySelector(".place").textContent = `${place + 1} of ${this.cards.length}`;
    this.svg = createImage(card);
    this.stage.replaceChildren(this.svg);
    this.setButtons();
    this.whole();
    const marks = await loadMarks(card);
    if (card !== this.card) return;
    this.marks = marks;
    this.errors = marks.map((mark, number) => number).filter(number => marks[number].error);
    this.listMarks();
    this.setButtons();
    this.said.textContent = text || this.describeImage();
    if (box) this.zoomTo([box]);
    this.draw();
  },

  describeImage() {
    const errors = describeErrors(this.card) || (isSemantic ? "" : "no errors");
    return `Quality ${cards.scores[this.card].toFixed(2)}${errors && ", "}${errors}.`;
  },

  setButtons() {
    const find = name => this.dialog.querySelector(`[data-do=${name}]`);
    find("previousImage").disabled = this.place === 0;
    find("nextImage").disabled = this.place === this.cards.length - 1;
    for (const name of isSemantic ? [] : ["previousError", "nextError"]) find(name).disabled = !this.errors.length;
  },

  listMarks() {
    const order = this.marks.map((_, number) => number).sort((a, b) => !this.marks[a].error - !this.marks[b].error || a - b);
    this.dialog.querySelector(".marks").replaceChildren(...order.map(number => {
      const mark = this.marks[number], swatch = create("span", { class: "swatch", style: `background:${colorOfMark(mark)}` });
      const button = create("button", { type: "button", "aria-pressed": "false", "data-mark": number }, swatch,
        `${mark.error ? mark.error + ": " : ""}${describeMark(mark)}`);
      button.addEventListener("click", () => this.choose(number));
      return create("li", {}, button);
    }));
  },

  draw() {
    const unit = this.view[2] / this.scaleWidth();
    drawOver(this.svg, this.card, this.marks, { unit, lowestScore: lowestScore(), chosen: this.chosen, hasTags: true });
    if (this.extraBox) {
      const d = traceBox(this.extraBox), layer = this.svg.querySelector(".layers");
      layer.append(createSvg("path", { class: "halo chosen", d }), createSvg("path", { class: "outline chosen extra", d, stroke: "#fff200" }));
    }
  },

  /** Returns the width of the visible part of the image in pixels of the screen. */
  scaleWidth() {
    const [, , width, height] = this.view;
    return width * Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height) || 1;
  },

  /** Shows a part of the image: x, y, width and height in its pixels. */
  look(x, y, width, height) {
    this.view = [x, y, width, height];
    this.svg.setAttribute("viewBox", this.view.join(" "));
    this.draw();
  },

  whole() {
    const [height, width] = cards.sizes[this.card];
    this.look(0, 0, width, height);
  },

  zoom(factor, fx = 0.5, fy = 0.5) {
    const [x, y, width, height] = this.view, [fullHeight, fullWidth] = cards.sizes[this.card];
    const limited = Math.min(Math.max(factor, SMALLEST_VIEW / Math.max(width, height)), 2 * fullWidth / width, 2 * fullHeight / height);
    this.look(x + width * fx * (1 - limited), y + height * fy * (1 - limited), width * limited, height * limited);
  },

  zoomIn() {
    this.zoom(1 / 1.5);
  },

  zoomOut() {
    this.zoom(1.5);
  },

  /** Shows boxes with twice their size around them. */
  zoomTo(boxes) {
    const [fullHeight, fullWidth] = cards.sizes[this.card];
    const low = axis => Math.min(...boxes.map(box => box[axis])), high = axis => Math.max(...boxes.map(box => box[axis + 2]));
    const height = Math.min(fullHeight, Math.max(2.2 * (high(0) - low(0)), 2 * SMALLEST_VIEW));
    const width = Math.min(fullWidth, Math.max(2.2 * (high(1) - low(1)), 2 * SMALLEST_VIEW));
    this.look((low(1) + high(1) - width) / 2, (low(0) + high(0) - height) / 2, width, height);
  },

  choose(number) {
    const mark = this.marks[number], partner = this.marks[mark.partner];
    Object.assign(this, { chosen: number, extraBox: null });
    this.dialog.querySelectorAll(".marks button").forEach(button => {
      button.setAttribute("aria-pressed", String(Number(button.dataset.mark) === number));
      if (Number(button.dataset.mark) === number) button.scrollIntoView({ block: "nearest" });
    });
    const place = mark.error ? `Error ${this.errors.indexOf(number) + 1} of ${this.errors.length}, ${mark.error}: ` : "";
    const reason = mark.error ? ` (${ERROR_TEXTS[mark.error]})` : "", matched = partner ? `; matched with ${describeMark(partner)}` : "";
    this.said.textContent = `${place}${describeMark(mark)}${reason}${matched}.`;
    this.zoomTo([mark.box, ...(partner ? [partner.box] : [])]);
  },

  stepError(by) {
    if (!this.errors.length) return;
    const place = this.errors.indexOf(this.chosen);
    const next = place < 0 ? (by > 0 ? 0 : this.errors.length - 1) : (place + by + this.errors.length) % this.errors.length;
    this.choose(this.errors[next]);
  },

  nextError() {
    this.stepError(1);
  },

  previousError() {
    this.stepError(-1);
  },

  nextImage() {
    if (this.place < this.cards.length - 1) this.show(this.place + 1);
  },

  previousImage() {
    if (this.place > 0) this.show(this.place - 1);
  },

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = { ArrowLeft: "previousImage", ArrowRight: "nextImage", n: "nextError", p: "previousError", "+": "zoomIn", "=": "zoomIn",
      "-": "zoomOut", 0: "whole" };
    const toggle = TOGGLES[["1", "2", "3"].indexOf(event.key)];
    if (toggle) setDrawn(toggle[0], !drawn[toggle[0]]);
    else if (event.key in actions) this[actions[event.key]]();
    else return;
    event.preventDefault();
  },

  turn(event) {
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    this.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  },

  drag(event) {
    const [x, y, width, height] = this.view, unit = width / this.scaleWidth();
    const move = moved => this.look(x - (moved.clientX - event.clientX) * unit, y - (moved.clientY - event.clientY) * unit, width, height);
    this.stage.setPointerCapture(event.pointerId);
    this.stage.addEventListener("pointermove", move);
    const stop = () => this.stage.removeEventListener("pointermove", move);
    this.stage.addEventListener("pointerup", stop, { once: true });
    this.stage.addEventListener("pointercancel", stop, { once: true });
  },
};
