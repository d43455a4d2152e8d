// Asks before something is done to dead letters, shows how far it got, and what became of it.

import { $, el, say } from "./dom.js";

let resolve = null;
const box = $("ask");
box.addEventListener("close", () => {
  // It comes late: the next question may be open by then.
  if (!box.open) resolve?.();
});
box.addEventListener("cancel", (event) => {
  // Escape while it is being done asks to stop, and leaves the result to be seen.
  if (box.dataset.busy) {
    event.preventDefault();
    box.querySelector("[data-role=cancel]").click();
  }
});

/**
 * Asks `title` and `text` (a promise: it may have to count first), and calls `run(told, stop)` if the
 * answer is yes. `run` says what became of it, as text. Resolves to that text, or to `null` if nothing was
 * done. An error stays to be seen until it is closed.
 *
 * `option`: `{ label, checked, changed(checked) }` for a choice that changes the text.
 */
export function ask({ title, prepare, danger = false, option, run }) {
  resolve?.();
  const text = el("p", { id: "ask-text" });
  const error = el("p", { class: "wrong", role: "alert" });
  const progress = el("p", { class: "progress", role: "status" });
  const yes = el("button", { class: `button ${danger ? "danger solid" : "primary"}`, type: "button", disabled: true }, "…");
  const no = el("button", { class: "button", type: "button", "data-role": "cancel" }, "Cancel");
  const choice = option && el("input", { type: "checkbox" });
  if (choice) choice.checked = option.checked;
  box.replaceChildren(el("h2", { id: "ask-title" }, title), text,
    ...(option ? [el("label", { class: "choice" }, choice, el("span", {}, option.label))] : []),
    progress, error, el("div", { class: "buttons" }, no, yes));
  delete box.dataset.busy;

  let stopped = new AbortController();
  const fail = (problem) => say(error, [problem.message, problem.hint].filter(Boolean).join(": "));
  const ready = async () => {
    say(text, "Counting…");
    yes.disabled = true;
    say(error, "");
    try {
      const { says, action, can } = await prepare(choice?.checked);
      say(text, says);
      say(yes, action);
      yes.disabled = !can;
    } catch (problem) {
      say(text, "");
      say(yes, title);
      fail(problem);
    }
  };
  choice?.addEventListener("change", ready);

  return new Promise((done) => {
    let result = null;
    resolve = () => {
      resolve = null;
      done(result);
    };
    no.addEventListener("click", () => {
      if (!box.dataset.busy) return box.close();
      stopped.abort();
      no.disabled = true;
      say(no, "Stopping…");
    });
    yes.addEventListener("click", async () => {
      box.dataset.busy = "1";
      yes.disabled = true;
      if (choice) choice.disabled = true;
      say(no, "Stop");
      no.focus();
      try {
        const { says, problem } = await run((told) => say(progress, told), stopped.signal, choice?.checked);
        result = says;
        if (!problem) {
          delete box.dataset.busy;
          return box.close();
        }
        say(progress, says);
        fail(problem);
      } catch (problem) {
        fail(problem);
      }
      delete box.dataset.busy;
      stopped = new AbortController();
      no.disabled = false;
      say(no, "Close");
      no.focus();
    });
    box.showModal();
    no.focus();
    ready();
  });
}
