/**
 * The documentation's pages: search, buttons that copy code, and the API reference on its page. Without this script the
 * pages can be read all the same.
 */
import { copy, el } from "./dom.js";

const BASE = new URL("../", import.meta.url);
const MOST = 12;
const AROUND = 70;
const SENTENCE = 32; // characters of a cell
const input = document.querySelector("#search input");
const found = document.getElementById("found");
const status = document.querySelector("#search [role=status]");
let index = null;

/** The pattern of a text at the beginning of a word. */
function beginning(words) {
  const literal = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("[^\\p{L}\\p{N}]+");
  return new RegExp(`(?<![\\p{L}\\p{N}])${literal}`, "giu");
}

function count(text, pattern) {
  return text.match(pattern)?.length ?? 0;
}

/** The sections that contain all words, each at the beginning of a word; the best first. */
function sections(words) {
  const patterns = words.map((word) => beginning([word]));
  const phrase = beginning(words);
  const points = ([target, page, heading, text]) => {
    const each = patterns.map((pattern) => 8 * Math.min(1, count(heading, pattern)) + 4 * Math.min(1, count(page, pattern)) + Math.min(3, count(text, pattern)));
    if (each.includes(0)) return 0;
    const together = 10 * Math.min(1, count(heading, phrase)) + 2 * Math.min(5, count(text, phrase));
    const named = heading.toLowerCase().split(":")[0] === words.join(" ").toLowerCase() ? 16 : 0;
    const sum = each.reduce((before, one) => before + one, together + named);
    return /^\d/.test(target) ? sum / 2 : sum; // (decisions explain what other pages say)
  };
  return index.map((section) => [points(section), section]).filter(([sum]) => sum > 0)
    .sort(([one], [other]) => other - one).map(([, section]) => [section, patterns]);
}

/** The words around the first match, with every match marked. */
function excerpt(text, patterns) {
  const at = Math.max(0, Math.min(...patterns.map((pattern) => text.search(pattern)).filter((place) => place >= 0), text.length));
  const from = at > AROUND ? Math.min(at, text.indexOf(" ", at - AROUND) + 1) : 0;
  const whole = text.length <= from + 3 * AROUND;
  const part = (from > 0 ? "…" : "") + (whole ? text.slice(from) : `${text.slice(from, text.lastIndexOf(" ", from + 3 * AROUND))} …`);
  const any = new RegExp(patterns.map((pattern) => `${pattern.source}[\\p{L}\\p{N}]*`).join("|"), "giu");
  const pieces = [];
  let end = 0;
  for (const match of part.matchAll(any)) {
    pieces.push(part.slice(end, match.index), el("mark", {}, match[0]));
    end = match.index + match[0].length;
  }
  return [...pieces, part.slice(end)];
}

/** The words in the field, without quotation marks. */
function typed() {
  return input.value.split(/[\s"“”„«»]+/u).filter(Boolean);
}

async function search() {
  const words = typed();
  if (words.length > 0 && index === null) {
    const response = await fetch(new URL("assets/search.json", BASE));
    if (!response.ok) throw new Error(`The index of the search is not available: ${response.status}.`);
    index = await response.json();
  }
  if (words.join(" ") !== typed().join(" ")) return;
  const matches = words.length > 0 ? sections(words) : [];
  const rows = matches.slice(0, MOST).map(([[target, page, heading, text], patterns]) =>
    el("li", {}, el("a", { href: new URL(target, BASE).href, onclick: close },
      heading === page ? el("strong", {}, page) : [el("strong", {}, heading), ` · ${page}`],
      el("small", {}, excerpt(text, patterns)))));
  status.textContent = words.length === 0 ? "" : `${matches.length} sections found.`;
  if (words.length > 0 && rows.length === 0) rows.push(el("li", {}, "No section has all these words."));
  found.replaceChildren(...rows);
}

function close() {
  found.replaceChildren();
}

function moveFocus(event) {
  const links = [input, ...found.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "Escape") {
    close();
    input.focus();
  } else if (event.key === "Enter" && at === 0) {
    links[1]?.click();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    links[at + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
  } else return;
  event.preventDefault();
}

/** What a reader wants in a terminal: of a session the commands, else everything. */
function copied(pre) {
  const text = pre.innerText.trimEnd();
  if (pre.dataset.language !== "console") return text;
  return text.split("\n").filter((line) => line.startsWith("$ ")).map((line) => line.slice(2)).join("\n");
}

/** A block of code in a box with a button that copies it. */
export function withCopyButton(pre) {
  const box = el("div", { class: "code" });
  pre.replaceWith(box);
  const button = el("button", {
    type: "button",
    onclick: async () => {
      await copy(copied(pre));
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    },
  }, "Copy");
  box.append(pre, button);
}

/** Let a table with sentences become cards on a phone. A cell of a third column or later then needs its title. */
export function stackable(table) {
  const titles = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
  const cells = [...table.querySelectorAll("tbody td")];
  if (!cells.some(({ textContent }) => textContent.length > SENTENCE)) return table;
  table.className = "prose";
  if (titles.length > 2) for (const cell of cells) if (cell.cellIndex > 0 && titles[cell.cellIndex]) cell.dataset.title = titles[cell.cellIndex];
  return table;
}

document.querySelectorAll("article pre").forEach(withCopyButton);
document.querySelectorAll("article table").forEach(stackable);
const contents = document.getElementById("contents");
contents.addEventListener("click", ({ target }) => {
  if (target.closest("a") && contents.matches(":popover-open")) contents.hidePopover();
});
input.addEventListener("input", search);
document.getElementById("search").addEventListener("keydown", moveFocus);
document.addEventListener("click", ({ target }) => target.closest("#search") || close());
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || document.activeElement.matches("input, textarea")) return;
  event.preventDefault();
  input.focus();
});
const sidebar = document.getElementById("sidebar");
const here = sidebar.querySelector("[aria-current]");
if (here) sidebar.scrollTop = here.offsetTop - sidebar.clientHeight / 2; // (scrollIntoView would move the page too)
if (document.body.dataset.page === "reference") import("./reference.js");
if (input.value) search(); // typed before this script was there
