/** Pieces that several pages use: badges, buttons, dialogs, tables and lists that are read page by page. */

import { copy, el, foreign, notify, show } from "./dom.js";

export function badge(state) {
  return el("span", { class: `badge ${state}` }, state.replaceAll("_", " "));
}

export function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

export function link(text, href, attributes = {}) {
  return el("a", { href, ...attributes }, typeof text === "string" ? foreign(text) : text);
}

/** Names with their values, as a definition list. Rows without a value are left out. */
export function facts(rows) {
  const known = Object.entries(rows).filter(([, value]) => ![null, undefined, false, ""].includes(value));
  return el("dl", { class: "facts" }, known.map(([name, value]) => [
    el("dt", {}, name),
    el("dd", {}, typeof value === "string" ? foreign(value) : value),
  ]));
}

/** A table whose rows become cards on a narrow screen. `columns`: `{title, cell(row), className?}`. */
export function table(caption, columns, rows, empty = "Nothing here.") {
  if (rows.length === 0) return el("p", { class: "empty" }, empty);
  const head = columns.map(({ title, className }) => el("th", { scope: "col", class: className }, title));
  const filled = ({ title, cell, className }, row) => {
    const one = el("td", { "data-title": title, class: className }, cell(row));
    one.classList.toggle("none", ["", "–"].includes(one.textContent));
    return one;
  };
  const body = rows.map((row) => el("tr", { "data-key": row.id ?? row.name }, columns.map((column) => filled(column, row))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, el("table", {},
    el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

/** What went wrong, with what the gateway says about it. */
export function failure(problem, again) {
  const known = problem.document ?? {};
  return el("div", { class: "failure", role: "alert" },
    el("p", {}, foreign(problem.message)),
    el("p", { class: "small" }, [known.code, known.provider && `provider ${known.provider}`,
      known.source && `caused by the ${known.source}`, known.request_id && `request ${known.request_id}`].filter(Boolean).join(" · ")),
    again && button("Try again", again));
}

/** Run the work of a button, once at a time; a failure is said. The button keeps the focus, which `disabled` ends. */
export function acting(text, work, attributes = {}) {
  return button(text, async (event) => {
    const pressed = event.currentTarget;
    if (pressed.ariaDisabled) return;
    pressed.ariaDisabled = "true";
    try {
      await work();
    } catch (problem) {
      if (problem.name !== "AbortError") notify(problem.message, "error");
    } finally {
      pressed.ariaDisabled = null;
    }
  }, attributes);
}

/**
 * Ask once. Returns whether the caller confirmed; `lost` says what is lost. `content` may have fields: then `work` does
 * what they ask for, and while it fails the dialog stays, with what was entered. Where something dangerous is asked,
 * the focus is on Cancel at first; Enter in a field confirms.
 */
export function ask({ title, text = "", lost = [], content = null, action = "Go on", dangerous = true, work = async () => {} }) {
  return new Promise((resolve) => {
    const going = el("button", { class: dangerous ? "danger" : "primary" }, action), refused = el("div", {});
    const onsubmit = async (event) => {
      event.preventDefault();
      if (going.ariaDisabled) return;
      going.ariaDisabled = "true";
      await work().then(() => dialog.close("yes"), (problem) => show(refused, failure(problem)));
      going.ariaDisabled = null;
    };
    const dialog = el("dialog", { "aria-labelledby": "ask-title" },
      el("form", { onsubmit },
        el("h2", { id: "ask-title" }, title),
        text && el("p", {}, text),
        lost.length > 0 && el("ul", { class: "lost" }, lost.map((one) => el("li", {}, one))),
        content,
        refused,
        el("div", { class: "buttons" },
          button("Cancel", () => dialog.close("no"), { autofocus: dangerous }),
          going)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

let fields = 0;
const MOST_AGAIN = 5; // pages

/** An input with its label, and with a hint that is not part of its name. */
export function field(label, input, hint = "") {
  const id = `hint-${++fields}`;
  if (hint) input.setAttribute("aria-describedby", id);
  input.dataset.focus = label;
  return el("div", { class: "field" }, el("label", {}, el("span", {}, label), input), hint && el("small", { id }, hint));
}

export function choice(options, selected, onchange, attributes = {}) {
  return el("select", { onchange: (event) => onchange(event.target.value), ...attributes },
    options.map(([value, text]) => el("option", { value, selected: value === selected }, text)));
}

/** A list with more pages. `read(cursor)` returns a page, `render(items)` shows all items that were read. */
export class Pages {
  constructor(read, render, { nothing = "Nothing here." } = {}) {
    this.read = read;
    this.render = render;
    this.nothing = nothing;
    this.items = [];
    this.count = 1; // pages
    this.cursor = null;
    this.reading = null;
    this.node = el("div", { class: "pages" });
    this.more = acting("Show more", () => this.next());
    this.foot = el("div", { class: "foot" }, this.more);
  }

  /** Read all pages again that were read, unless they are many. */
  async refresh() {
    if (this.count <= MOST_AGAIN) await this._take(true);
  }

  async next() {
    await this._take(false);
  }

  async _take(again) {
    await this.reading?.catch(() => {});
    this.reading = this._read(again).finally(() => { this.reading = null; });
    await this.reading;
  }

  async _read(again) {
    const read = again ? [] : [...this.items];
    let cursor = again ? null : this.cursor;
    for (let left = again ? this.count : 1; left > 0; left--) {
      const page = await this.read(cursor);
      read.push(...page.items);
      cursor = page.next_cursor ?? null;
      if (cursor === null) break;
    }
    if (!again) this.count++;
    Object.assign(this, { items: read, cursor });
    this.more.hidden = this.cursor === null;
    show(this.node, this.items.length || this.cursor ? this.render(this.items) : el("p", { class: "empty" }, this.nothing), this.foot);
  }
}

/** A text with a button that copies it. */
export function copyable(text) {
  return el("span", { class: "copyable" }, el("code", {}, text),
    acting("Copy", async () => { await copy(text); notify("Copied."); }, { class: "small" }));
}
