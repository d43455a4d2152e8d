// What state all this is in, in one line: the worst first, since when, and what else is so.

import { $, el, say, mark } from "./dom.js";
import { clock, duration } from "./format.js";

const SAID = {
  running: ["good", "Running", "connected, taking messages"],
  scaling: ["good", "Scaling", "connected; it handles no messages, and says how many workers there should be"],
  paused: ["warn", "Paused", "nothing more is started until it is resumed"],
  draining: ["warn", "Draining", "it takes no more messages, and finishes what it has started"],
  cancelling: ["warn", "Cancelling", "it has called off what still runs"],
  stopped: ["bad", "Stopped", "the worker has ended"],
  breaker_open: ["bad", "Breaker open", "what is behind fails; messages wait in the queue, uncharged"],
  breaker_probing: ["warn", "Breaker probing", "a few calls find out whether what is behind is well again"],
  fuse_blown: ["bad", "Fuse blown", "nearly nothing succeeds; messages are kept, not made dead letters"],
  unsent: ["warn", "Telemetry not sent", "metrics or traces do not get to their collector; jobs go on"],
  broker_gone: ["bad", "Broker gone", "no messages come, and none can be settled; it tries again"],
};

/** Says how it stands. `contact.lost` is when the server was last heard of, or `null`. */
export function show(status, contact, now) {
  if (contact.lost !== null) {
    const since = contact.ever ? `since ${clock(contact.lost)}` : "";
    put("bad", "No contact", [contact.why, since, contact.ever ? "what is shown is of then" : ""], []);
    return;
  }
  if (contact.locked) {
    put("warn", "Locked", ["this port asks for a token"], []);
    return;
  }
  if (!status) return;
  const [first, ...others] = status.states;
  const [tone, name, what] = SAID[first.name] ?? ["warn", first.name.replaceAll("_", " "), ""];
  const since = first.since_ms === null ? "" : `since ${clock(first.since_ms)}`;
  put(tone, name, [first.detail ?? what, since], others.map((state) => {
    const [tone, name] = SAID[state.name] ?? ["warn", state.name];
    const since = state.since_ms === null ? "" : `for ${duration(Math.max(0, now - state.since_ms))}`;
    return { tone, name, since, detail: state.detail ? ` · ${state.detail}` : "" };
  }));
}

function put(tone, name, parts, also) {
  mark($("banner"), "data-tone", tone);
  const text = parts.filter(Boolean).join(" · ");
  const box = $("state");
  // Said anew only when it is new: it is a live region.
  if (box.dataset.said !== `${name}|${text}`) {
    box.dataset.said = `${name}|${text}`;
    box.replaceChildren(el("strong", {}, name), ` ${text}`);
  }
  const list = $("also");
  if (list.childElementCount !== also.length) {
    list.replaceChildren(...also.map(() => el("li", {})));
  }
  also.forEach(({ tone, name, since, detail }, index) => {
    mark(list.children[index], "data-tone", tone);
    say(list.children[index], `${name} ${since}${detail}`);
  });
}
