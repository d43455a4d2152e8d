// The samples of the last 15 minutes, as the charts read them, kept up to date a second at a time.

/** How far back the charts look, in milliseconds. */
export const SPAN = 15 * 60 * 1000;
/** Samples further apart than this are not joined by a line: nobody knows what was between. */
export const GAP = 3500;

export class History {
  rows = [];
  instance = null;
  next = 0;

  /** Takes in an answer of `/api/history`. A worker that has started anew begins a new story. */
  take({ instance, fields, rows, next }) {
    if (instance !== this.instance) {
      this.instance = instance;
      this.rows = [];
    }
    for (const cells of rows) {
      const row = Object.fromEntries(fields.map((field, index) => [field, cells[index]]));
      const last = this.rows.at(-1);
      if (!last || row.seq > last.seq) this.rows.push(row);
    }
    this.next = next;
    const newest = this.rows.at(-1)?.at_ms ?? 0;
    const stale = this.rows.findIndex((row) => row.at_ms >= newest - SPAN);
    if (stale > 0) this.rows.splice(0, stale);
  }

  get last() {
    return this.rows.at(-1);
  }

  /** Where the sample nearest to a time is; -1 without any. */
  nearest(at) {
    let [low, high] = [0, this.rows.length - 1];
    if (high < 0) return -1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].at_ms < at) low = middle;
      else high = middle;
    }
    return Math.abs(this.rows[low].at_ms - at) <= Math.abs(this.rows[high].at_ms - at) ? low : high;
  }
}

/** What was the matter when a sample was taken; `null`: nothing. */
export function trouble(row) {
  if (row.broker_up === false) return "broker gone";
  if (row.breaker === "open") return "breaker open";
  if (row.breaker === "half_open") return "breaker probing";
  return ["running", "scaling"].includes(row.state) ? null : row.state.replaceAll("_", " ");
}
