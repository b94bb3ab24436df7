/** Times, costs and words, as people read them. */

export const MOST_OF_A_LABEL = 1000; // characters of a label that can be filtered by

let ahead = 0; // milliseconds that the gateway's clock is ahead of the browser's

/** Learn the gateway's time from a response's `Date`, which has whole seconds: the browser's clock may be wrong. */
export function setClock(date) {
  const difference = Date.parse(date) - Date.now();
  if (!Number.isNaN(difference)) ahead = Math.abs(difference) < 5000 ? 0 : difference;
}

function now() {
  return Date.now() + ahead;
}

const STEPS = [[60, "s"], [60, "min"], [24, "h"], [Infinity, "d"]];

/** A duration in seconds with its largest unit: 90 → "1 min". */
export function duration(seconds) {
  let value = Math.max(0, Math.floor(seconds));
  for (const [size, unit] of STEPS) {
    if (value < size) return `${value} ${unit}`;
    value = Math.floor(value / size);
  }
}

export function age(at) {
  return at ? duration((now() - Date.parse(at)) / 1000) : "–";
}

export function until(at) {
  if (!at) return "–";
  const seconds = (Date.parse(at) - now()) / 1000;
  return seconds > 0 ? `in ${duration(seconds)}` : "expired";
}

export function when(at) {
  return at ? new Date(at).toLocaleString().replaceAll(/\s/g, "\u00a0") : "–";
}

/** The time of day. */
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

export function credits(cost) {
  return cost ? cost.estimated_total_credits.toLocaleString() : "–";
}

/** Seconds as milliseconds or seconds: 0.0123 → "12 ms". */
export function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

export function plural(count, noun) {
  return `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
}

export function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

export function nameOf(runtime) {
  return [runtime.name, runtime.display_name].find((name) => name?.trim()) ?? runtime.provider_id ?? runtime.id;
}
