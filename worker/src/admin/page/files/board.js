// The charts: what each shows, its figure of now, and the values under the common cursor.

import { $, el, figure, say } from "./dom.js";
import { NONE, clock, count, duration, rate, short, tick } from "./format.js";
import { Chart } from "./chart.js";
import { trouble } from "./history.js";

const percentiles = (prefix) => [
  { key: `${prefix}_p50_ms`, label: "p50", hue: "low" },
  { key: `${prefix}_p95_ms`, label: "p95", hue: "mid" },
  { key: `${prefix}_p99_ms`, label: "p99", hue: "high" },
];
const stacked = (key, label, hue) => ({ key, label, hue, stack: true, area: true });

const WHY = {
  idle: "nothing to do, and nothing has come of late",
  enough: "there are as many as are needed",
  backlog: "there is a backlog to work off",
  arrivals: "more arrives than the workers can handle, or soon will",
  oldest_age: "the oldest message is, or would get, too old",
  held_down: "what is behind is the bottleneck: more workers would not help",
  breaker_open: "the breaker is open: more workers would not help",
  hysteresis: "fewer would do, but not for long enough yet",
  at_maximum: "more are needed than are allowed",
  learning: "how fast a worker is, is not known yet",
};
const BREAKER = { closed: "closed", open: "open", half_open: "probing" };

/** What each card shows: `now` is its figure, `note` what stands below. */
const CARDS = [
  {
    id: "throughput", title: "Throughput", tick: short, text: rate, axis: {},
    series: [
      stacked("done", "done", "good"), stacked("retried", "retried", "warn"),
      stacked("postponed", "put off", "soft"), stacked("released", "released", "cool"),
      stacked("dropped", "dropped", "dull"), stacked("dead", "dead", "bad"),
    ],
    now: (row) => rate(row.done),
    note: (row) => row.arrival_rate === null ? "" : `${rate(row.arrival_rate)} arrive`,
  },
  {
    id: "handling", title: "Handling time", tick, text: duration, axis: { log: true },
    series: percentiles("handling"), now: (row) => duration(row.handling_p95_ms),
    note: (row) => row.handling_p95_ms === null ? "none in the last minute" : "95th percentile of a minute",
  },
  {
    id: "wait", title: "Wait for a permit", tick, text: duration, axis: { log: true },
    series: percentiles("wait"), now: (row) => duration(row.wait_p95_ms),
    note: (row) => row.wait_p95_ms === null ? "none in the last minute" : "95th percentile of a minute",
  },
  {
    id: "backlog", title: "Backlog", tick: short, text: count, axis: { whole: true },
    series: [
      stacked("leased", "leased", "cool"), stacked("ready", "ready", "good"),
      stacked("delayed", "delayed", "warn"),
    ],
    now: (row, status) => count(outstanding(row), isAbout(status.backlog)),
    note: () => "messages to be done",
  },
  {
    id: "age", title: "Oldest message", tick, text: duration, axis: { isTime: true },
    series: [{ key: "oldest_age_ms", label: "age", hue: "mid", area: true }],
    now: (row) => duration(row.oldest_age_ms),
    note: (row) => row.oldest_age_ms !== null ? "since it was due"
      : outstanding(row) === 0 ? "nothing waits" : "this broker does not tell",
  },
  {
    id: "concurrency", title: "Concurrency", tick: short, text: count, axis: { whole: true },
    series: [
      { key: "in_flight", label: "in flight", hue: "good", area: true },
      { key: "limit", label: "limit", hue: "high", step: true },
    ],
    now: (row) => `${count(row.in_flight)} / ${count(row.limit)}`,
    note: (row) => row.breaker === null ? "no breaker" : `breaker ${BREAKER[row.breaker]}`,
    also: (row) => row.breaker === null ? "" : `breaker ${BREAKER[row.breaker]}`,
  },
  {
    id: "drain", title: "Time to drain", tick, text: duration, axis: { isTime: true },
    series: [{ key: "time_to_drain_ms", label: "at this pace", hue: "cool", area: true }],
    now: (row) => duration(row.time_to_drain_ms),
    note: (row) => row.time_to_drain_ms === null ? "it does not shrink, or is not known yet"
      : "with the workers that there are",
  },
  {
    id: "workers", title: "Workers wanted", tick: short, text: count, axis: { whole: true },
    series: [{ key: "desired_workers", label: "wanted", hue: "good", step: true, area: true }],
    now: (row) => count(row.desired_workers),
    note: (row) => WHY[row.because] ?? "",
    also: (row) => row.because?.replaceAll("_", " "),
  },
];

const isAbout = (backlog) => [backlog?.ready, backlog?.delayed, backlog?.leased].some((it) => it && !it.exact);

function outstanding(row) {
  const known = [row.ready, row.delayed, row.leased].filter((value) => value !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) : null;
}

export class Board {
  index = null;

  constructor() {
    this.cards = CARDS.map((spec) => this.build(spec));
    $("cards").append(...this.cards.map((card) => card.root));
  }

  build(spec) {
    const now = el("p", { class: "now" }, NONE);
    const note = el("p", { class: "note" });
    const box = el("div", { class: "chart" });
    const cells = spec.series.map(({ label, hue }) => {
      const value = el("dd", {}, NONE);
      return { value, node: el("div", { class: hue }, el("dt", {}, label), value) };
    });
    const root = el("article", { class: "card", id: `card-${spec.id}` },
      el("header", {}, el("h3", {}, spec.title), now, note),
      box, el("dl", { class: "legend" }, cells.map((cell) => cell.node)));
    const on = { move: (index) => this.look(index), leave: () => this.look(null) };
    return { spec, root, now, note, cells, chart: new Chart(box, spec, on) };
  }

  /** Moves the cursor of all charts, to a sample or (`null`) away. */
  look(index) {
    this.index = index === -1 ? null : index;
    this.seen = this.index === null ? null : this.history?.rows[this.index]?.seq;
    if (this.history) this.show(this.history, this.status, this.until);
  }

  /** Shows what is known at a time. */
  show(history, status, until) {
    Object.assign(this, { history, status, until });
    if (this.index !== null) {
      // Samples move up as old ones go; the cursor stays with its own.
      const at = history.rows.findIndex((row) => row.seq === this.seen);
      this.index = at < 0 ? null : at;
    }
    const { last } = history;
    const row = this.index === null ? last : history.rows[this.index];
    for (const { spec, now, note, cells, chart } of this.cards) {
      figure(now, last ? spec.now(last, status ?? {}) : NONE);
      say(note, last ? spec.note(last) : "nothing yet");
      spec.series.forEach(({ key }, at) => say(cells[at].value, row ? spec.text(row[key]) : NONE));
      chart.show({ history, until, index: this.index });
    }
    this.tell(row);
  }

  tell(row) {
    if (this.index === null) {
      say($("cursor"), "Point at a chart, or focus one and use the arrow keys.");
      return;
    }
    const ago = Math.max(0, Math.round((this.until - row.at_ms) / 1000)) * 1000;
    const what = trouble(row);
    say($("cursor"), `At ${clock(row.at_ms)}, ${duration(ago)} ago${what ? `: ${what}` : ""}`);
  }
}

const TOTALS = {
  acked: "done", retried: "retried", postponed: "put off", released: "released", dead: "dead",
  dropped: "dropped", stale: "verdicts too late", refused: "verdicts refused", settle_errors: "settle errors",
  receive_errors: "receive errors", leases_lost: "leases lost",
};

/** What was counted since the worker started. */
export function totals(counts) {
  const box = $("totals");
  if (!box.childElementCount) {
    box.append(...Object.entries(TOTALS).map(([key, label]) =>
      el("div", {}, el("dt", {}, label), el("dd", { "data-key": key }, NONE))));
  }
  for (const cell of box.querySelectorAll("dd")) say(cell, count(counts[cell.dataset.key]));
}
