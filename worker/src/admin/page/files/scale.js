// Axes: round numbers that hold all values, in steps that people count in.

const TIMES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 20e3, 30e3, 60e3, 2 * 60e3, 5 * 60e3,
  10 * 60e3, 20 * 60e3, 30 * 60e3, 36e5, 2 * 36e5, 6 * 36e5, 12 * 36e5, 864e5];

function step(most, isTime) {
  const rough = most / 2;
  if (isTime && rough <= TIMES.at(-1)) return TIMES.find((time) => time >= rough);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= rough * 0.999);
  return Math.max(factor * unit, isTime ? 1 : 0);
}

/** From 0 to a round number, with two or three ticks; `whole`: of things that cannot be halved. */
export function linear(most, { isTime = false, whole = false } = {}) {
  let by = step(Math.max(most, isTime ? 2 : whole ? 2 : 1), isTime);
  if (whole) by = Math.ceil(by);
  const top = by * Math.max(1, Math.ceil(most / by - 1e-9));
  const ticks = [];
  for (let at = by; at <= top * 1.001; at += by) ticks.push(at);
  return { top, ticks, place: (value) => Math.min(1, value / top) };
}

/** By powers of ten, for what ranges from a fraction of a millisecond to minutes. */
export function logarithmic(least, most) {
  const low = Math.floor(Math.log10(Math.max(least, 0.01)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 0.02)) - 1e-9));
  // Round to people: seconds, minutes and hours beyond a second.
  const round = [0.01, 0.1, 1, 10, 100, 1e3, 10e3, 60e3, 600e3, 36e5, 36e6, 864e5, 864e6]
    .filter((time) => time > 10 ** low && time <= 10 ** high);
  const by = Math.ceil(round.length / 4);
  const ticks = round.filter((_, index) => (round.length - 1 - index) % by === 0);
  const place = (value) =>
    Math.min(1, Math.max(0, (Math.log10(Math.max(value, 1e-9)) - low) / (high - low)));
  return { top: 10 ** high, ticks, place };
}
