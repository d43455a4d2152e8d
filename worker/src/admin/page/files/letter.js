// One dead letter, all that is known of it: where it was, each failure, headers, payload.

import { get } from "./api.js";
import * as acts from "./acts.js";
import { $, el, say } from "./dom.js";
import { NONE, bytes, count, duration, moment, reason } from "./format.js";
import { bytesOf, hexOf, jsonOf, textOf } from "./payload.js";

const box = $("letter");
let current = null;
box.addEventListener("close", () => {
  // It comes late: the next letter may be open by then.
  if (box.open) return;
  box.replaceChildren();
  current?.closed();
});
// A click beside the sheet closes it.
box.addEventListener("click", (event) => {
  if (event.target === box) box.close();
});

/** Shows a letter. `act(act, what)` does something to it and says what came of it; `closed()` follows. */
export async function open(id, { act, closed }) {
  current = { closed };
  const close = el("button", { class: "button", type: "button", onclick: () => box.close() }, "Close");
  const title = el("h2", { id: "letter-title" }, `Dead letter ${id}`);
  const inside = el("div", { class: "inside", tabindex: "-1" }, el("p", { class: "quiet" }, "Reading…"));
  const doing = el("div", { class: "buttons" });
  box.replaceChildren(el("header", {}, title, close), inside, el("footer", {}, doing));
  box.showModal();
  close.focus();
  try {
    const letter = await get(`/api/dead/${encodeURIComponent(id)}`, {}, 20_000);
    inside.replaceChildren(...content(letter));
    const does = (what) => async () => {
      const said = await act(what, { ids: [id] });
      if (said) box.close();
    };
    doing.append(
      el("button", { class: "button", type: "button", onclick: does(acts.redrive) }, "Redrive…"),
      el("button", { class: "button danger", type: "button", onclick: does(acts.purge) }, "Purge…"));
  } catch (problem) {
    inside.replaceChildren(el("p", { class: "wrong", role: "alert" },
      [problem.message, problem.hint].filter(Boolean).join(": ")));
  }
}

function content(letter) {
  const when = (ms) => ms === null ? NONE : `${moment(ms)} (${duration(Math.max(0, letter.as_of_ms - ms))} ago)`;
  const facts = [
    ["Reason", el("span", { class: `tag ${letter.reason}` }, reason(letter.reason))],
    ["Died", when(letter.died_at_ms)],
    ["Enqueued", when(letter.enqueued_at_ms)],
    ["Message", letter.message_id],
    ["Key", letter.key ? written(letter.key) : NONE],
    ["Queue", `${letter.queue}, position ${letter.position}`],
    ["Attempts", count(letter.attempts)],
    ["Redrives", count(letter.redrives)],
  ];
  return [
    el("dl", { class: "about" }, facts.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    ...failures(letter),
    ...payload(letter),
    ...headers(letter),
  ];
}

function failures({ history }) {
  const items = history.toReversed().map((note, index) => el("li", { class: index === 0 ? "last" : null },
    el("p", { class: "when" }, `${moment(note.at_ms)} · `, el("strong", {}, note.kind), index === 0 ? " · decided" : ""),
    el("pre", {}, note.error)));
  return [el("h3", {}, `Failures, newest first (${history.length})`),
    items.length ? el("ol", { class: "failures", tabindex: "0", "aria-label": "Failures" }, items) : el("p", { class: "quiet" }, "None is recorded.")];
}

function headers({ headers, headers_left_out }) {
  if (!headers.length) return [el("h3", {}, "Headers"), el("p", { class: "quiet" }, "It has none.")];
  const rows = headers.map(({ name, value }) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, written(value))));
  const more = headers_left_out ? [el("p", { class: "quiet" }, `${count(headers_left_out)} more are not shown.`)] : [];
  return [el("h3", {}, `Headers (${count(headers.length + headers_left_out)})`), el("table", { class: "headers" }, el("tbody", {}, rows)), ...more];
}

/** A key or a header's value, which is text or, in base64, bytes; and may be cut. */
function written({ text, base64, bytes: size, cut }) {
  const end = cut ? ` … (${bytes(size)} in all)` : "";
  return text !== undefined ? `${text}${end}` : `${hexOf(bytesOf(base64)).trim()}${end}`;
}

function payload({ payload: { base64, bytes: size, cut } }) {
  const raw = bytesOf(base64);
  const text = textOf(raw, cut);
  const json = cut ? null : jsonOf(text);
  const views = [
    ["JSON", json, "It is no JSON."], ["Text", text, "It is not UTF-8 text."], ["Hex", hexOf(raw), ""],
  ];
  const shown = el("pre", { class: "payload", id: "payload", role: "tabpanel", tabindex: "0" });
  const choose = (index, focus) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
    });
    const [name, value, none] = views[index];
    say(shown, value ?? none);
    shown.setAttribute("aria-label", `Payload as ${name}`);
    shown.classList.toggle("none", value === null);
    if (focus) tabs[index].focus();
  };
  const tabs = views.map(([name, value], index) => el("button", {
    type: "button", role: "tab", "aria-controls": "payload", class: value === null ? "none" : null,
    onclick: () => choose(index),
    onkeydown: (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index + views.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(to % views.length, true);
    },
  }, name));
  choose(json !== null ? 0 : text !== null ? 1 : 2);
  const told = cut ? `${bytes(size)}, the first ${bytes(raw.length)} of them shown` : bytes(size);
  return [
    el("div", { class: "payload-head" }, el("h3", {}, "Payload "), el("span", { class: "quiet" }, told),
      el("div", { role: "tablist", "aria-label": "Payload as", class: "tabs" }, tabs)),
    size === 0 ? el("p", { class: "quiet" }, "It is empty.") : shown,
  ];
}
