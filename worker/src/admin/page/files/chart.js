// A chart over the last 15 minutes, drawn as SVG: areas that stack, lines, steps, and what was the matter
// in the background. Its cursor is moved by pointer or keys, and is a slider to a screen reader.

import { svg, mark } from "./dom.js";
import { minute, clock } from "./format.js";
import { GAP, SPAN, trouble } from "./history.js";
import { linear, logarithmic } from "./scale.js";

const FOOT = 18;
const HEAD = 6;
/** How far a key moves the cursor, in samples, which are a second apart. */
const KEYS = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: -30, PageDown: 30 };

export class Chart {
  /** `spec`: title, series, axis, tick. `on.move(index)`, `on.leave()`: somebody looks at a sample. */
  constructor(box, spec, on) {
    this.spec = spec;
    this.box = box;
    this.back = svg("g", { class: "bands" });
    this.grid = svg("g", { class: "grid" });
    this.marks = svg("g", { class: "marks" });
    this.labels = svg("g", { class: "labels" });
    this.top = svg("g", { class: "top-marks" });
    this.root = svg("svg", { "aria-hidden": "true" }, this.back, this.grid, this.marks, this.labels, this.top);
    this.paths = spec.series.map((series) => {
      const area = series.area ? svg("path", { class: `area ${series.hue}` }) : null;
      const line = svg("path", { class: `line ${series.hue}` });
      return { area, line };
    });
    // Where lines of a stack lie on each other, the lowest is the one that says most.
    const order = spec.series.some(({ stack }) => stack) ? this.paths.toReversed() : this.paths;
    this.marks.append(...order.flatMap(({ area, line }) => area ? [area, line] : [line]));
    box.append(this.root);
    this.listen(on);
    new ResizeObserver(() => this.draw()).observe(box);
  }

  listen(on) {
    const { box } = this;
    for (const [name, value] of Object.entries({
      tabindex: "0", role: "slider", "aria-orientation": "horizontal",
      "aria-label": `${this.spec.title}: read out over time`, "aria-valuemin": "0",
    })) box.setAttribute(name, value);
    const under = (event) => {
      if (!this.view) return;
      const { left, width } = box.getBoundingClientRect();
      const { history, until } = this.view;
      on.move(history.nearest(until - SPAN + SPAN * (event.clientX - left) / width));
    };
    box.addEventListener("pointermove", under);
    box.addEventListener("pointerdown", under);
    box.addEventListener("pointerleave", () => on.leave());
    box.addEventListener("keydown", (event) => {
      if (!this.view) return;
      const { history, index } = this.view;
      const last = history.rows.length - 1;
      const from = index ?? last;
      const to = event.key === "Home" ? 0 : event.key === "End" ? last : from + (KEYS[event.key] ?? NaN);
      if (event.key === "Escape") on.leave();
      else if (last < 0 || Number.isNaN(to)) return;
      else on.move(Math.min(last, Math.max(0, to)));
      event.preventDefault();
    });
    box.addEventListener("focus", () => {
      if (this.view && this.view.index === null && box.matches(":focus-visible")) {
        on.move(this.view.history.rows.length - 1);
      }
    });
    box.addEventListener("blur", () => on.leave());
  }

  /** Takes what is to be seen: `index` is the sample under the cursor, or `null`. */
  show(view) {
    this.view = view;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!this.view || width === 0) return;
    this.width = width;
    this.plot = height - HEAD - FOOT;
    mark(this.root, "viewBox", `0 0 ${width} ${height}`);
    const { history: { rows }, until } = this.view;
    this.x = (at) => (1 - (until - at) / SPAN) * width;
    const levels = this.levels(rows);
    const values = levels.flat().filter((value) => value !== null);
    const most = Math.max(0, ...values);
    const { axis } = this.spec;
    this.scale = axis.log
      ? logarithmic(Math.min(...values.filter((value) => value > 0), most || 1), most)
      : linear(most, axis);
    this.y = (value) => HEAD + (1 - this.scale.place(value)) * this.plot;
    this.drawGrid();
    this.drawBands(rows);
    this.drawSeries(rows, levels);
    this.drawCursor(rows, levels);
  }

  /** The value at which each series is drawn, a list for each: what stacks stands on what is below. */
  levels(rows) {
    const base = rows.map(() => 0);
    return this.spec.series.map(({ key, stack }) => rows.map((row, index) => {
      const value = row[key] ?? null;
      if (!stack || value === null) return value;
      return (base[index] += value);
    }));
  }

  drawGrid() {
    const { width, plot } = this;
    const lines = [], labels = [];
    const floor = HEAD + plot;
    lines.push(svg("line", { class: "floor", x1: 0, x2: width, y1: floor + 0.5, y2: floor + 0.5 }));
    for (const tick of this.scale.ticks) {
      const y = Math.round(this.y(tick)) + 0.5;
      lines.push(svg("line", { x1: 0, x2: width, y1: y, y2: y }));
      labels.push(svg("text", { x: 2, y: y + 11 }, this.spec.tick(tick)));
    }
    const every = 5 * 60_000;
    const { until } = this.view;
    for (let at = Math.ceil((until - SPAN) / every) * every; at <= until; at += every) {
      const x = Math.round(this.x(at)) + 0.5;
      lines.push(svg("line", { class: "stem", x1: x, x2: x, y1: floor, y2: floor + 4 }));
      const side = x < 24 ? "start" : x > width - 24 ? "end" : "middle";
      const kept = Math.min(width - 1, Math.max(1, x));
      labels.push(svg("text", { x: kept, y: floor + 15, "text-anchor": side }, minute(at)));
    }
    this.grid.replaceChildren(...lines);
    this.labels.replaceChildren(...labels);
  }

  drawBands(rows) {
    const bands = [];
    let open = null;
    const close = (at) => {
      if (open) bands.push({ ...open, to: at });
      open = null;
    };
    for (const row of rows) {
      const what = trouble(row);
      if (what !== open?.what) {
        close(row.at_ms);
        if (what) open = { what, from: row.at_ms };
      }
    }
    close((rows.at(-1)?.at_ms ?? 0) + 1000);
    this.back.replaceChildren(...bands.map(({ what, from, to }) => {
      const x = Math.max(0, this.x(from));
      const width = Math.max(1, Math.min(this.width, this.x(to)) - x);
      return svg("rect", { class: what.replaceAll(" ", "-"), x, width, y: HEAD, height: this.plot });
    }));
  }

  drawSeries(rows, levels) {
    // From the top of the stack down, so that each area's floor is the one below it.
    let floor = null;
    this.spec.series.forEach((series, index) => {
      const { area, line } = this.paths[index];
      const runs = this.runs(rows, levels[index]);
      const point = ([x, value]) => `${x.toFixed(1)} ${this.y(value).toFixed(1)}`;
      const join = (run) => series.step ? stairs(run, point) : run.map(point).join("L");
      // A line of nothing would hide the one that it lies on.
      const drawn = series.stack && index > 0
        ? this.runs(rows, levels[index].map((value, at) => rows[at][series.key] > 0 ? value : null))
        : runs;
      // A sample alone is a dot: a line of no length with round ends.
      mark(line, "d", drawn.map((run) => `M${join(run)}${run.length === 1 ? `L${point(run[0])}` : ""}`).join(""));
      if (area) {
        const below = series.stack ? floor : null;
        const under = (run) => run.map(([x, , at]) => [x, below ? below[at] : 0]).reverse();
        const shape = (run) => `M${join(run)}L${under(run).map((it) =>
          it[1] === 0 ? `${it[0].toFixed(1)} ${HEAD + this.plot}` : point(it)).join("L")}Z`;
        mark(area, "d", runs.map(shape).join(""));
        if (series.stack) floor = levels[index];
      }
    });
  }

  /** Stretches without a gap, as [x, value, index of the sample]. */
  runs(rows, values) {
    const runs = [];
    let run = null, before = -Infinity;
    rows.forEach((row, index) => {
      const value = values[index];
      if (value === null) {
        run = null;
        return;
      }
      if (!run || row.at_ms - before > GAP) runs.push(run = []);
      before = row.at_ms;
      run.push([this.x(row.at_ms), value, index]);
    });
    return runs;
  }

  drawCursor(rows, levels) {
    const { index } = this.view;
    const { box } = this;
    mark(box, "aria-valuemax", String(Math.max(0, rows.length - 1)));
    const row = rows[index ?? rows.length - 1];
    mark(box, "aria-valuenow", String(Math.max(0, index ?? rows.length - 1)));
    mark(box, "aria-valuetext", row ? this.read(row) : "nothing yet");
    if (index === null || !row) {
      this.top.replaceChildren();
      return;
    }
    const x = this.x(row.at_ms);
    const dots = this.spec.series.flatMap(({ hue, key, stack }, at) => {
      const value = levels[at][index];
      if (value === null || (stack && row[key] === 0)) return [];
      return [svg("circle", { class: hue, cx: x, cy: this.y(value), r: 3 })];
    });
    const line = svg("line", { class: "cursor", x1: x, x2: x, y1: HEAD, y2: HEAD + this.plot });
    this.top.replaceChildren(line, ...dots);
  }

  /** A sample in words. */
  read(row) {
    const { series, text, also } = this.spec;
    const values = series.map(({ key, label }) => `${label} ${text(row[key])}`);
    const more = also?.(row);
    return [clock(row.at_ms), ...values, ...(more ? [more] : []), ...(trouble(row) ? [trouble(row)] : [])].join(", ");
  }
}

function stairs(run, point) {
  return run.map((it, index) => {
    if (index === 0) return point(it);
    return `${point([it[0], run[index - 1][1]])}L${point(it)}`;
  }).join("L");
}
