/**
 * Charts of the last hour, a slot for each minute. What is drawn is SVG and fills the space that there is; the scales
 * are text around it, which keeps its size. A minute says its values when the pointer is over it.
 */

import { el, svg } from "./dom.js";
import { clock } from "./format.js";

const WIDTH = 300;
const HEIGHT = 80;
const SLOTS = 61;
const SLOT = WIDTH / SLOTS;
const MINUTE = 60_000; // milliseconds

/**
 * Calls by minute, the failed ones on top, and a line along the top while the breaker is open. `minutes`:
 * `{at, hover, calls, failed, open}`; the last one is at the right edge.
 */
export function callsChart(minutes, texts) {
  const most = rounded(Math.max(2, ...minutes.map(({ calls }) => calls)));
  const bars = minutes.flatMap(({ calls, failed, open }, index) => {
    const bar = (className, y, height) => height > 0 && svg("rect", { class: className, x: place(index, minutes), width: SLOT - 1, y, height });
    const all = scaled(calls, most), bad = scaled(failed, most);
    return [bar("good", HEIGHT - all + bad, all - bad), bar("bad", HEIGHT - all, bad), open && bar("open", 0, 3)];
  });
  return chart(minutes, bars, [most, most / 2, 0].map((value) => value.toLocaleString()), texts);
}

/** One line for each series: `{className, values}`. A null interrupts it. `write` gives a value with its unit. */
export function linesChart(minutes, series, write, texts) {
  const most = rounded(Math.max(0.002, ...series.flatMap(({ values }) => values)));
  const lines = series.map(({ className, values }) => {
    let path = "";
    values.forEach((value, index) => {
      if (value === null) return;
      const step = index && values[index - 1] !== null ? "L" : "M";
      path += `${step}${(place(index, values) + SLOT / 2).toFixed(1)} ${(HEIGHT - scaled(value, most)).toFixed(1)}h0.01`;
    });
    return svg("path", { class: className, d: path });
  });
  return chart(minutes, lines, [most, most / 2, 0].map(write), texts);
}

/** The smallest even digit, or 1, times a power of ten that is not below `value`: half of it is a short number, too. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].find((step) => step * power >= value) * power;
}

function place(index, { length }) {
  return (SLOTS - length + index) * SLOT;
}

function scaled(value, most) {
  return (value / most) * HEIGHT;
}

/** `legend`: class name and text of what is drawn. `summary` says in words what a reader sees. */
function chart(minutes, parts, values, { title, summary, legend, label }) {
  const end = minutes.length > 0 ? Date.parse(minutes.at(-1).at) : Date.now();
  const lines = [0, HEIGHT / 2, HEIGHT].map((y) => svg("line", { x1: 0, x2: WIDTH, y1: y, y2: y }));
  const hovers = minutes.map(({ at, hover }, index) =>
    svg("rect", { class: "hover", x: place(index, minutes), width: SLOT, y: 0, height: HEIGHT }, svg("title", {}, `${clock(at)}: ${hover}`)));
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${label}, ${title}: ${summary}`, preserveAspectRatio: "none" }, lines, parts, hovers);
  return el("figure", {},
    el("figcaption", {}, el("strong", {}, title), ` ${summary}`, el("span", { class: "legend" }, legend.map(([className, text]) => el("span", { class: `key ${className}` }, text)))),
    el("div", { class: "plot" },
      el("div", { class: "y", "aria-hidden": "true" }, values.map((value) => el("span", {}, value))),
      drawing,
      el("div", { class: "x", "aria-hidden": "true" }, [60, 30, 0].map((before) => el("span", {}, clock(end - before * MINUTE))))));
}
