// Charts as SVG: lines, bars and points, with values on hover and by the arrow keys.

const SERIES_COLORS = ["#2f7ed8", "#e4572e", "#2ca25f", "#9b5de5", "#d4a017", "#17a2b8", "#d6457f", "#7a8794"];
const MOST_SERIES = 8;
const CHART_HEIGHT = 260;
const MARGIN = { top: 10, right: 14, left: 54 };
// Below the x axis: for horizontal names, and for names that are turned because they are longer than their place.
const BOTTOM = 40, BOTTOM_TURNED = 84, PIXELS_PER_LETTER = 6.8, MOST_LETTERS_TURNED = 16;

function colorOf(number) {
  return SERIES_COLORS[number % SERIES_COLORS.length];
}

/** Returns about `wanted` round numbers that cover a range. */
function findTicks(low, high, wanted) {
  const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough * 0.999);
  const ticks = [];
  for (let tick = Math.floor(low / step + 1e-9) * step; tick < high + step * 0.999; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

function findLogTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) ticks.push(10 ** power);
  return ticks;
}

function findLeast(values) {
  return values.reduce((least, value) => Math.min(least, value), Infinity);
}

function findLargest(values) {
  return values.reduce((largest, value) => Math.max(largest, value), -Infinity);
}

class ChartView {
  constructor(chart) {
    this.chart = chart;
    this.visible = chart.series.map((_, number) => number < MOST_SERIES);
    this.cursor = -1;
    this.svg = createSvg("svg", { class: "chart", height: CHART_HEIGHT, tabindex: 0, role: "img", "aria-label":
      `${chart.title}: ${chart.y_label} over ${chart.x_label}. Arrow keys show the values.` });
    this.element = create("div", {}, this.svg, this.createLegend());
    this.svg.addEventListener("pointermove", event => this.point(event));
    this.svg.addEventListener("pointerdown", event => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.moveCursor(-1));
    this.svg.addEventListener("blur", () => this.moveCursor(-1));
    this.svg.addEventListener("keydown", event => this.step(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  createLegend() {
    const legend = create("div", { class: "series", role: "group", "aria-label": "Series of the chart" });
    if (this.chart.series.length < 2) return legend;
    this.chart.series.forEach((series, number) => {
      const swatch = create("span", { class: "swatch", style: `background:${colorOf(number)}` });
      const button = create("button", { type: "button", "aria-pressed": String(this.visible[number]), title: series.note || null }, swatch, series.name);
      button.addEventListener("click", () => {
        this.visible[number] = !this.visible[number];
        button.setAttribute("aria-pressed", String(this.visible[number]));
        this.draw();
      });
      legend.append(button);
    });
    if (this.chart.series.length <= MOST_SERIES) return legend;
    const hint = `The first ${MOST_SERIES} of ${this.chart.series.length} series are drawn; choose others here.`;
    return create("div", {}, create("p", { class: "note" }, hint), legend);
  }

  shown() {
    return this.chart.series.map((series, number) => ({ ...series, number })).filter(series => this.visible[series.number]);
  }

  draw() {
    const width = this.element.clientWidth;
    if (!width || (this.drawn === width && this.drawnSeries === String(this.visible))) return;
    this.drawn = width;
    this.drawnSeries = String(this.visible);
    this.scale(width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${CHART_HEIGHT}`);
    this.layer = createSvg("g");
    this.svg.replaceChildren(this.drawAxes(width), this.drawSeries(), this.layer);
  }

  scale(width) {
    const { chart } = this, shown = this.shown(), right = width - MARGIN.right;
    this.slot = chart.x_names.length ? (right - MARGIN.left) / chart.x_names.length : 0;
    this.isTurned = chart.x_names.some(name => name.length * PIXELS_PER_LETTER > this.slot);
    const bottom = this.bottom = CHART_HEIGHT - (this.isTurned ? BOTTOM_TURNED : BOTTOM);
    const xs = shown.flatMap(series => series.x), ys = shown.flatMap(series => series.y).filter(value => value !== null);
    // Values that are all 0 get an axis up to 1.
    const least = findLeast([0, ...ys]), largest = findLargest([0, ...ys]);
    this.yTicks = findTicks(least, largest > least ? largest : least + 1, 5);
    const [low, high] = [this.yTicks[0], this.yTicks.at(-1)];
    this.y = value => bottom - (value - low) / (high - low) * (bottom - MARGIN.top);
    this.positions = [...new Set(xs)].sort((a, b) => a - b);
    if (chart.x_names.length) {
      this.x = value => MARGIN.left + (value + 0.5) * this.slot;
      return;
    }
    const gap = this.positions.slice(1).reduce((least, value, number) => Math.min(least, value - this.positions[number]), Infinity);
    let first = this.positions[0] ?? 0, last = this.positions.at(-1) ?? 1;
    if (chart.kind === "bar") [first, last] = [first - (isFinite(gap) ? gap : 1) / 2, last + (isFinite(gap) ? gap : 1) / 2];
    if (chart.kind === "points" && !chart.log_x) [first, last] = [first - 0.02 * (last - first), last + 0.02 * (last - first)];
    if (first === last && !chart.log_x) [first, last] = [first - 0.5, last + 0.5];
    if (first === last) [first, last] = [first / 2, last * 2];
    const log = chart.log_x ? Math.log10 : value => value;
    this.range = [first, last];
    this.x = value => MARGIN.left + (log(value) - log(first)) / (log(last) - log(first)) * (right - MARGIN.left);
    this.slot = chart.kind === "bar" ? (right - MARGIN.left) * (isFinite(gap) ? gap : 1) / (last - first) : 0;
  }

  drawAxes(width) {
    const { chart, bottom } = this, right = width - MARGIN.right, axes = createSvg("g", { "aria-hidden": "true" });
    for (const tick of this.yTicks) {
      axes.append(createSvg("line", { class: tick === 0 ? "axis" : "tick", x1: MARGIN.left, x2: right, y1: this.y(tick), y2: this.y(tick) }));
      axes.append(createSvg("text", { x: MARGIN.left - 6, y: this.y(tick) + 4, "text-anchor": "end" }, format(tick)));
    }
    axes.append(...(chart.x_names.length ? this.drawNames(bottom) : this.drawTicks(width, bottom)));
    axes.append(createSvg("text", { x: (MARGIN.left + right) / 2, y: CHART_HEIGHT - 6, "text-anchor": "middle" }, chart.x_label));
    const middle = (MARGIN.top + bottom) / 2;
    axes.append(createSvg("text", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, chart.y_label));
    return axes;
  }

  drawTicks(width, bottom) {
    const [first, last] = this.range, wanted = Math.max(2, Math.floor(width / 90)), slack = (last - first) * 1e-6;
    const ticks = this.chart.log_x ? findLogTicks(first, last) : findTicks(first, last, wanted);
    return ticks.filter(tick => tick >= first - slack && tick <= last + slack).flatMap(tick => [
      createSvg("line", { class: "tick", x1: this.x(tick), x2: this.x(tick), y1: bottom, y2: bottom + 4 }),
      createSvg("text", { x: this.x(tick), y: bottom + 17, "text-anchor": "middle" }, format(tick)),
    ]);
  }

  /** Writes the names of bars; where there is little space, only every second or third one, and on hover all of them. */
  drawNames(bottom) {
    const every = Math.max(1, Math.ceil(14 / this.slot));
    return this.chart.x_names.flatMap((name, number) => {
      if (number % every) return [];
      const x = this.x(number), y = bottom + 17;
      if (!this.isTurned) return [createSvg("text", { x, y, "text-anchor": "middle" }, name)];
      return [createSvg("text", { x, y: bottom + 12, "text-anchor": "end", transform: `rotate(-35 ${x} ${bottom + 12})` }, shorten(name, MOST_LETTERS_TURNED))];
    });
  }

  drawSeries() {
    const shown = this.shown(), group = createSvg("g");
    shown.forEach((series, place) => {
      const color = colorOf(series.number);
      if (this.chart.kind === "bar") group.append(...this.drawBars(series, place, shown.length, color));
      else if (this.chart.kind === "points") group.append(...this.drawPoints(series, color));
      else group.append(createSvg("path", { d: this.trace(series), fill: "none", stroke: color, "stroke-width": 2, "stroke-linejoin": "round" }));
      if (this.chart.kind === "line" && series.x.length === 1) group.append(...this.drawPoints(series, color));
    });
    return group;
  }

  drawBars(series, place, total, color) {
    const space = this.slot * 0.8, width = Math.max(1, space / total - 1), zero = this.y(0);
    return series.x.map((x, number) => {
      const y = series.y[number] === null ? zero : this.y(series.y[number]);
      const left = this.x(x) - space / 2 + space * place / total;
      return createSvg("rect", { class: "bar-of-series", x: left, y: Math.min(y, zero), width, height: Math.abs(zero - y), fill: color });
    });
  }

  drawPoints(series, color) {
    return series.x.flatMap((x, number) => series.y[number] === null ? [] :
      [createSvg("circle", { cx: this.x(x), cy: this.y(series.y[number]), r: 3.5, fill: color, "fill-opacity": 0.75 })]);
  }

  /** Returns the path of a line, with gaps where there is no value. */
  trace(series) {
    let path = "", pen = "M";
    series.x.forEach((x, number) => {
      if (series.y[number] === null) {
        pen = "M";
        return;
      }
      path += `${pen}${this.x(x).toFixed(1)} ${this.y(series.y[number]).toFixed(1)}`;
      pen = "L";
    });
    return path;
  }

  point(event) {
    const box = this.svg.getBoundingClientRect(), x = event.clientX - box.left;
    let nearest = -1, distance = Infinity;
    this.positions.forEach((value, number) => {
      if (Math.abs(this.x(value) - x) < distance) [nearest, distance] = [number, Math.abs(this.x(value) - x)];
    });
    this.moveCursor(nearest, event.clientY);
  }

  step(event) {
    const last = this.positions.length - 1;
    const places = { ArrowLeft: Math.max(0, this.cursor - 1), ArrowRight: Math.min(last, this.cursor + 1), Home: 0, End: last, Escape: -1 };
    if (!(event.key in places)) return;
    event.preventDefault();
    this.moveCursor(places[event.key]);
  }

  moveCursor(number, clientY = null) {
    this.cursor = number;
    this.layer?.replaceChildren();
    if (number < 0 || !this.positions.length) return hideTip();
    const value = this.positions[number], x = this.x(value);
    this.layer.append(createSvg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: this.bottom }));
    const lines = [this.chart.x_names[value] ?? `${this.chart.x_label}: ${format(value)}`];
    for (const series of this.shown()) {
      series.x.forEach((at, place) => {
        if (at !== value || series.y[place] === null) return;
        lines.push(`${series.name || this.chart.y_label}: ${format(series.y[place])}`);
        if (this.chart.kind !== "bar") {
          this.layer.append(createSvg("circle", { cx: x, cy: this.y(series.y[place]), r: 4, fill: colorOf(series.number) }));
        }
      });
    }
    const box = this.svg.getBoundingClientRect();
    showTip(lines.join("\n"), box.left + x, clientY ?? box.top + 40);
  }
}

function shorten(text, length) {
  return text.length <= length ? text : length < 2 ? "" : `${text.slice(0, length - 1)}…`;
}
