// Redrive and purge: what they are about is counted first, asked, done in steps that can be stopped, and
// told, also where it ended half-way.

import { get, post } from "./api.js";
import { ask } from "./ask.js";
import { count, letters, reason } from "./format.js";

/** How many times a letter may have been redriven to be redriven with the others. */
const GUARD = 3;

/** How many are meant, and as of when: what dies meanwhile is not what was asked about. */
async function counted({ ids, filter }, guard) {
  if (ids) return { n: ids.length, text: letters(ids.length), as_of_ms: null };
  const { count: n, more, as_of_ms } = await get("/api/dead-count", { ...filter, redriven_less_than: guard }, 60_000);
  return { n, text: letters(n) + (more ? " or more" : ""), as_of_ms };
}

function which({ filter }) {
  if (!filter) return "";
  const said = [
    filter.contains && `whose last error contains “${filter.contains}”`,
    filter.reason && `that died for the reason “${reason(filter.reason)}”`,
  ].filter(Boolean);
  return said.length ? ` ${said.join(" and ")}` : "";
}

const body = (what, as_of_ms) => what.ids ? { ids: what.ids } : { filter: { ...what.filter, died_before_ms: as_of_ms } };

/** Back into their queue. */
export function redrive(what) {
  let asked = null;
  const guards = Boolean(what.filter);
  const guard = (isOn) => guards && isOn ? GUARD : undefined;
  return ask({
    title: "Redrive dead letters",
    option: guards ? { label: `Leave alone what has been redriven ${GUARD} times or more`, checked: true } : undefined,
    async prepare(isGuarded) {
      asked = await counted(what, guard(isGuarded));
      if (asked.n === 0) return { says: "There are none to redrive.", action: "Redrive", can: false };
      const says = `Move ${asked.text}${which(what)} back into ${what.queue}, oldest death first? ` +
        "Attempts begin again, the history stays.";
      return { says, action: `Redrive ${asked.text}`, can: true };
    },
    async run(told, stop, isGuarded) {
      const meant = body(what, asked.as_of_ms);
      if (guard(isGuarded)) meant.filter.redriven_less_than = GUARD;
      let moved = 0, problem = null, done = false;
      while (!done && !problem && !stop.aborted) {
        try {
          const answer = await post("/api/dead/redrive", meant);
          moved += answer.moved;
          done = answer.done;
          if (answer.stopped) problem = answer.stopped;
        } catch (error) {
          problem = error;
        }
        told(`Redrove ${count(moved)} of ${asked.text}`);
      }
      return { says: redriven(moved, asked, { problem, stopped: !done, what }), problem };
    },
  });
}

function redriven(moved, asked, { problem, stopped, what }) {
  const said = `Redrove ${letters(moved)}`;
  if (problem) return `${said} of ${asked.text}; the rest is where it was, unless the last step was carried out unseen.`;
  if (stopped) return `${said} of ${asked.text}, then stopped; the rest is where it was.`;
  const gone = what.ids ? asked.n - moved : 0;
  return gone > 0 ? `${said}; ${count(gone)} were no longer there.` : `${said}.`;
}

/** Gone for good. */
export function purge(what) {
  let asked = null;
  return ask({
    title: "Purge dead letters",
    danger: true,
    async prepare() {
      asked = await counted(what);
      if (asked.n === 0) return { says: "There are none to purge.", action: "Purge", can: false };
      return {
        says: `Delete ${asked.text}${which(what)} of ${what.queue} for good? This cannot be undone.`,
        action: `Purge ${asked.text}`, can: true,
      };
    },
    async run(told) {
      told(`Purging ${asked.text}…`);
      try {
        const { purged } = await post("/api/dead/purge", body(what, asked.as_of_ms));
        return { says: `Purged ${letters(purged)}.`, problem: null };
      } catch (problem) {
        return { says: "It is not known how many were purged: look at the list.", problem };
      }
    },
  });
}
