// Figures as people read them: with units, in as many digits as mean something.

const NBSP = "\u00a0";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** What is shown where nothing is known. */
export const NONE = "–";
const known = (value) => value !== null && value !== undefined;

/** A number of things; with `about`, one that its broker does not know exactly. */
export function count(value, about = false) {
  if (!known(value)) return NONE;
  const text = value >= 10_000_000 ? `${tenths.format(value / 1e6)}${NBSP}M` : whole.format(value);
  return about ? `≈${NBSP}${text}` : text;
}

/** Things a second. */
export function rate(value) {
  if (!known(value)) return NONE;
  return `${value < 10 ? tenths.format(value) : count(value)}${NBSP}/s`;
}

/** A time in milliseconds, in its two largest units. */
export function duration(ms) {
  if (!known(ms)) return NONE;
  if (ms === 0) return `0${NBSP}s`;
  if (ms < 10) return `${ms < 1 ? ms.toPrecision(1) : tenths.format(ms)}${NBSP}ms`;
  if (ms < 1000) return `${whole.format(ms)}${NBSP}ms`;
  const s = ms / 1000;
  if (s < 10) return `${tenths.format(s)}${NBSP}s`;
  if (s < 59.5) return `${whole.format(s)}${NBSP}s`;
  const two = (large, unit, small, sub) =>
    `${whole.format(large)}${NBSP}${unit}` + (small ? ` ${small}${NBSP}${sub}` : "");
  const total = Math.round(s);
  if (total < 3600) return two(Math.floor(total / 60), "min", total % 60, "s");
  if (total < 86_400) return two(Math.floor(total / 3600), "h", Math.floor(total % 3600 / 60), "min");
  return two(Math.floor(total / 86_400), "d", Math.floor(total % 86_400 / 3600), "h");
}

/** A tick of an axis of time: one unit. */
export function tick(ms) {
  if (ms === 0) return "0";
  if (ms < 1000) return `${tenths.format(ms)}${NBSP}ms`;
  if (ms < 60_000) return `${tenths.format(ms / 1000)}${NBSP}s`;
  if (ms < 3_600_000) return `${tenths.format(ms / 60_000)}${NBSP}min`;
  if (ms < 86_400_000) return `${tenths.format(ms / 3_600_000)}${NBSP}h`;
  return `${tenths.format(ms / 86_400_000)}${NBSP}d`;
}

/** A short number for an axis. */
export function short(value) {
  if (value >= 1e6) return `${tenths.format(value / 1e6)}${NBSP}M`;
  return value >= 10_000 ? `${tenths.format(value / 1000)}${NBSP}k` : tenths.format(value);
}

/** A size in bytes. */
export function bytes(value) {
  if (value < 1024) return `${value}${NBSP}B`;
  if (value < 1024 ** 2) return `${tenths.format(value / 1024)}${NBSP}KiB`;
  return `${tenths.format(value / 1024 ** 2)}${NBSP}MiB`;
}

const hms = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const hm = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** The time of day, to the second. */
export const clock = (ms) => hms.format(ms);
/** The time of day, to the minute. */
export const minute = (ms) => hm.format(ms);

/** A moment with its date, in the reader's own zone. */
export function moment(ms) {
  const at = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(ms)}`;
}

/** `1 dead letter`, `2 dead letters`. */
export const letters = (n) => `${count(n)} dead ${n === 1 ? "letter" : "letters"}`;

const SAID = {
  permanent: "permanent", undecodable: "undecodable", attempts_exhausted: "attempts used up",
  too_old: "too old", killed_worker: "killed its worker",
};
/** Why a letter died, in words. */
export const reason = (name) => SAID[name] ?? name;
/** Every reason there is. */
export const REASONS = Object.keys(SAID);
