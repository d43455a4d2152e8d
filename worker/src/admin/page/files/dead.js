// The dead letters: found, looked at page by page, chosen.

import { get } from "./api.js";
import * as acts from "./acts.js";
import { $, el, mark, say } from "./dom.js";
import { REASONS, count, duration, letters, moment, reason } from "./format.js";
import { open } from "./letter.js";

const PAGE = 25;

export class DeadLetters {
  filter = { contains: "", reason: "" };
  /** Where each page before this one, and this one, begins. */
  starts = [""];
  page = { letters: [], next: null };
  chosen = new Set();
  loaded = false;

  constructor({ onLocked }) {
    this.onLocked = onLocked;
    $("reason").append(...REASONS.map((name) => el("option", { value: name }, reason(name))));
    $("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.search({ contains: $("contains").value, reason: $("reason").value });
    });
    $("reason").addEventListener("change", () => $("search").requestSubmit());
    $("clear").addEventListener("click", () => {
      $("contains").value = $("reason").value = "";
      this.search({ contains: "", reason: "" });
      $("contains").focus();
    });
    $("next").addEventListener("click", () => this.turn([...this.starts, this.page.next]));
    $("previous").addEventListener("click", () => this.turn(this.starts.slice(0, -1)));
    $("pick-all").addEventListener("change", (event) => {
      for (const letter of this.page.letters) this.pick(letter.dead_id, event.target.checked);
      this.show();
    });
    const chosen = () => ({ ids: [...this.chosen] });
    const all = () => ({ filter: this.filter });
    for (const [id, act, what] of [
      ["redrive-chosen", acts.redrive, chosen], ["purge-chosen", acts.purge, chosen],
      ["redrive-all", acts.redrive, all], ["purge-all", acts.purge, all],
    ]) $(id).addEventListener("click", () => this.act(act, what()));
  }

  /** What the server says of itself: where there are more or fewer letters than before, it looks again. */
  know(status, isNew) {
    this.queue = status.queue;
    const dead = status.backlog?.dead ?? null;
    say($("dead-count"), dead ? count(dead.value, !dead.exact) : "–");
    const key = `${dead?.value}/${status.counts?.dead}`;
    const changed = key !== this.key || isNew;
    this.key = key;
    const isBusy = this.chosen.size > 0 || document.querySelector("dialog[open]");
    if (!this.loaded || (changed && !isBusy)) this.load();
    else if (changed) this.stale = true;
  }

  search(filter) {
    this.filter = { ...filter, contains: filter.contains.trim() };
    $("clear").hidden = !this.narrows;
    this.chosen.clear();
    this.turn([""]);
  }

  get narrows() {
    return Boolean(this.filter.contains || this.filter.reason);
  }

  turn(starts) {
    this.starts = starts;
    this.chosen.clear();
    return this.load();
  }

  async load() {
    const turn = this.loading = Symbol("the latest request is the one that counts");
    this.loaded = true;
    this.stale = false;
    $("letters").setAttribute("aria-busy", "true");
    try {
      const page = await get("/api/dead", { ...this.filter, after: this.starts.at(-1), limit: PAGE }, 20_000);
      if (turn !== this.loading) return;
      // The last letter of a page has gone: back to one that has some.
      if (!page.letters.length && this.starts.length > 1) return this.turn(this.starts.slice(0, -1));
      this.page = page;
      this.problem = null;
    } catch (problem) {
      if (turn !== this.loading) return;
      if (problem.status === 401) this.onLocked(problem);
      this.problem = problem;
      // Asked again with the next word from the server.
      this.loaded = false;
    }
    const there = new Set(this.page.letters.map((letter) => letter.dead_id));
    for (const id of this.chosen) if (!there.has(id)) this.chosen.delete(id);
    $("letters").setAttribute("aria-busy", "false");
    this.show();
  }

  pick(id, isChosen) {
    if (isChosen) this.chosen.add(id);
    else this.chosen.delete(id);
  }

  async act(act, what) {
    const said = await act({ ...what, queue: this.queue });
    if (said) {
      say($("result"), said);
      this.chosen.clear();
    }
    if (said || this.stale) await this.load();
    return said;
  }

  show() {
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    const part = document.activeElement?.dataset?.part;
    const rows = this.page.letters.map((letter) => this.row(letter));
    $("letters").replaceChildren(...rows);
    // Rows are made anew; whoever was at one stays there.
    if (focused && part) {
      const row = rows.find((row) => row.dataset.id === focused);
      (row?.querySelector(`[data-part=${part}]`) ?? $("dead")).focus({ preventScroll: true });
    }
    this.showEmpty();
    this.showTools();
  }

  row(letter) {
    const id = letter.dead_id;
    const pick = el("input", {
      type: "checkbox", "data-part": "pick", "aria-label": `Select dead letter ${id}`,
      onchange: (event) => {
        this.pick(id, event.target.checked);
        event.target.closest("tr").classList.toggle("is-chosen", event.target.checked);
        this.showTools();
      },
    });
    pick.checked = this.chosen.has(id);
    const look = () => open(id, { act: (act, what) => this.act(act, what), closed: () => this.stale && this.load() });
    const button = el("button", {
      class: "link", type: "button", "data-part": "open", onclick: look, "aria-haspopup": "dialog",
    }, letter.error || "no error recorded");
    const ago = duration(Math.max(0, this.page.as_of_ms - letter.died_at_ms));
    const cell = (name, props, ...children) => el("td", { "data-label": name, ...props }, ...children);
    return el("tr", { "data-id": id, class: this.chosen.has(id) ? "is-chosen" : null },
      el("td", { class: "pick" }, pick),
      cell("Died", { title: moment(letter.died_at_ms) }, `${ago} ago`),
      cell("Reason", {}, el("span", { class: `tag ${letter.reason}` }, reason(letter.reason))),
      cell("Attempts", { class: "num" }, count(letter.attempts)),
      cell("Redrives", { class: "num" }, count(letter.redrives)),
      cell("Key", { class: "key", title: letter.key }, letter.key ?? "–"),
      cell("Last error", { class: "error" }, button));
  }

  showEmpty() {
    const { problem } = this;
    const none = !this.page.letters.length;
    $("empty").hidden = !none && !problem;
    document.querySelector("table.letters").hidden = none;
    if (problem) {
      $("empty").replaceChildren(el("p", { class: "wrong", role: "alert" },
        [`The dead letters cannot be read: ${problem.message}`, problem.hint].filter(Boolean).join(". ")));
    } else if (none) {
      $("empty").replaceChildren(...(this.narrows
        ? [el("p", {}, el("strong", {}, "No dead letter matches.")), el("p", {}, "Search for less, or show all.")]
        : [el("p", {}, el("strong", {}, "No dead letters.")), el("p", {}, "What cannot succeed comes here, with its history; nothing has.")]));
    }
  }

  showTools() {
    const here = this.page.letters.length;
    const n = this.chosen.size;
    say($("chosen"), n === 0 ? "None selected" : `${count(n)} selected`);
    for (const id of ["redrive-chosen", "purge-chosen"]) $(id).disabled = n === 0;
    for (const id of ["redrive-all", "purge-all"]) $(id).disabled = here === 0 && this.starts.length === 1;
    say($("redrive-all"), this.narrows ? "Redrive all that match…" : "Redrive all…");
    say($("purge-all"), this.narrows ? "Purge all that match…" : "Purge all…");
    const all = $("pick-all");
    all.checked = here > 0 && n === here;
    all.indeterminate = n > 0 && n < here;
    all.disabled = here === 0;
    const before = (this.starts.length - 1) * PAGE;
    say($("page"), here === 0 ? "" : `${count(before + 1)} to ${count(before + here)}, oldest death first`);
    $("previous").disabled = this.starts.length === 1;
    $("next").disabled = !this.page.next;
    mark($("letters"), "data-count", String(here));
    if (here === 0) mark($("letters"), "aria-label", letters(0));
  }
}
