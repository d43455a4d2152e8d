// Begins here: asks the server twice a second, and hands what it says to the parts of the page.

import { ApiError, get, token } from "./api.js";
import * as banner from "./banner.js";
import { Board, totals } from "./board.js";
import { DeadLetters } from "./dead.js";
import { $, say } from "./dom.js";
import { clock, duration } from "./format.js";
import { History } from "./history.js";

/** Samples are a second apart; that the broker is gone is to be seen sooner. */
const EVERY = 500;
/** Unheard of for longer than this, the server is lost, also where a request still waits. */
const PATIENCE = 4000;

const history = new History();
const board = new Board();
const contact = { lost: null, heard: null, ever: false, why: "", locked: false };
let status = null;
/** By how much the server's clock is ahead of ours, in milliseconds. */
let ahead = 0;

const dead = new DeadLetters({ onLocked: () => lock() });

async function ask() {
  try {
    const [now, more] = await Promise.all([
      get("/api/status"),
      get("/api/history", { since: history.next, instance: history.instance }),
    ]);
    heard(now, more);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) lock(error);
    else lose(error);
  }
}

function heard(now, more) {
  const isNew = status?.instance !== now.instance;
  status = now;
  history.take(more);
  ahead = now.now_ms - Date.now();
  Object.assign(contact, { lost: null, heard: Date.now(), ever: true, locked: false });
  say($("name"), now.name);
  say($("source"), now.source);
  say($("version"), now.version);
  document.title = `${now.name} · Forebay`;
  totals(now.counts ?? {});
  dead.know(now, isNew);
}

function lose(error) {
  const hint = error.status ? `${error.message}${error.hint ? `: ${error.hint}` : ""}` : error.message;
  contact.why = hint;
  contact.locked = false;
  contact.lost ??= contact.heard ?? Date.now();
}

function lock(error) {
  Object.assign(contact, { lost: null, locked: true });
  const refused = token.get() !== null;
  token.forget();
  const box = $("token");
  $("ask-token").hidden = false;
  if (!box.open && (!contact.declined || refused)) {
    say($("token-error"), refused && error ? error.message : "");
    box.showModal();
  }
}

let shown = 0;

function show() {
  const now = Date.now();
  shown = now;
  const silent = contact.heard !== null && now - contact.heard > PATIENCE;
  if (silent && contact.lost === null && !contact.locked) {
    lose(new ApiError(0, "the server does not answer"));
  }
  $("ask-token").hidden = !contact.locked;
  document.body.classList.toggle("is-lost", contact.lost !== null);
  banner.show(status, contact, now + ahead);
  if (status) say($("uptime"), duration(Math.floor((now + ahead - status.started_ms) / 1000) * 1000));
  if (contact.heard) say($("updated"), clock(contact.heard));
  board.show(history, status, now + ahead);
}

$("token-form").addEventListener("submit", () => {
  token.set($("token-value").value.trim());
  $("token-value").value = "";
  contact.declined = false;
  turn();
});
$("token-cancel").addEventListener("click", () => $("token").close());
$("token").addEventListener("close", () => {
  contact.declined = token.get() === null;
});
$("ask-token").addEventListener("click", () => $("token").showModal());

let timer = null;
let asking = false;

async function turn() {
  clearTimeout(timer);
  if (!asking && !(contact.locked && token.get() === null && contact.ever)) {
    asking = true;
    try {
      await ask();
    } finally {
      asking = false;
    }
  }
  show();
  clearTimeout(timer);
  // Nobody looks: nothing is asked until somebody does.
  if (!document.hidden) timer = setTimeout(turn, EVERY);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) turn();
});
// A request that hangs must not stop the clock on the page.
setInterval(() => {
  if (!document.hidden && Date.now() - shown > 1.5 * EVERY) show();
}, EVERY);
turn();
