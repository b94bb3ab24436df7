/** Charts of the last hour, as SVG. Each has a text for screen readers. */

import { svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;
const SLOTS = 61;

/** Calls by minute, the failed ones on top in another colour and hatched, so that it is not the colour alone. */
export function callsChart(minutes, label) {
  const most = Math.max(1, ...minutes.map((minute) => minute.calls));
  const bars = minutes.flatMap((minute, index) => {
    const x = place(index, minutes.length);
    const failed = scaled(minute.failed, most);
    const good = scaled(minute.calls - minute.failed, most);
    return [
      good && svg("rect", { class: "good", x, width: WIDTH / SLOTS - 1, y: HEIGHT - good, height: good }),
      failed && svg("rect", { class: "bad", x, width: WIDTH / SLOTS - 1, y: HEIGHT - good - failed, height: failed }),
      minute.open && svg("rect", { class: "open", x, width: WIDTH / SLOTS - 1, y: 0, height: 3 }),
    ];
  });
  return frame(label, bars);
}

/** One line for each series: `{className, values}`; null in the values interrupts it. */
export function linesChart(series, label) {
  const most = Math.max(0.001, ...series.flatMap(({ values }) => values.filter((value) => value !== null)));
  const lines = series.map(({ className, values }) => {
    let path = "";
    values.forEach((value, index) => {
      if (value === null) return;
      const step = index && values[index - 1] !== null ? "L" : "M";
      path += `${step}${(place(index, values.length) + WIDTH / SLOTS / 2).toFixed(1)} ${(HEIGHT - scaled(value, most)).toFixed(1)}h0.01`;
    });
    return svg("path", { class: className, d: path });
  });
  return frame(label, lines);
}

function place(index, count) {
  return ((SLOTS - count + index) * WIDTH) / SLOTS;
}

function scaled(value, most) {
  return (value / most) * (HEIGHT - 4);
}

function frame(label, parts) {
  const line = svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
  const attributes = { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, preserveAspectRatio: "none" };
  return svg("svg", attributes, svg("title", {}, label), line, parts);
}
