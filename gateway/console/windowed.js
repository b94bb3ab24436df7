/**
 * A list of any length. Each page of the API is a block of the document; only the blocks near the visible part have
 * rows, in the document and in memory. The others keep their height and their cursor, and are read again when they
 * come near. So neither scrolling nor a refresh costs more for a longer list.
 */

import { el, show } from "./dom.js";
import { acting } from "./ui.js";

const NEAR = "2000px";
const REST = 10; // times as long as a refresh took: a filter may read a whole fleet for a few rows

export class Windowed {
  /** `read(cursor)` returns a page, `render(row)` an element; `changed()` is called when other rows are shown. */
  constructor({ read, render, changed, signal }) {
    Object.assign(this, { read, render, changed });
    this.node = el("div", {});
    this.blocks = [];
    this.refreshing = null;
    this.restsUntil = 0;
    this.observer = new IntersectionObserver((seen) => seen.forEach((one) => this._seen(one)), { rootMargin: NEAR });
    signal.addEventListener("abort", () => this.observer.disconnect());
    this._append(null).near = true;
  }

  /** The rows that are in the document. */
  get rows() {
    return this.blocks.flatMap(({ rows }) => rows ?? []);
  }

  /** How many rows were read, and whether the list has more. */
  get count() {
    return this.blocks.reduce((sum, { count }) => sum + count, 0);
  }

  get ended() {
    return this.blocks.at(-1).next === null;
  }

  /** What the pages near the visible part say about rows that they leave out. */
  get notes() {
    return [...new Map(this.blocks.flatMap(({ notes }) => notes)).values()];
  }

  /** Read the blocks again that have rows, unless that was done or takes long. Returns the rows that are gone. */
  async refresh(always = false) {
    if (!always && (this.refreshing || performance.now() < this.restsUntil)) return [];
    const began = performance.now();
    this.refreshing = this._refresh();
    try {
      return await this.refreshing;
    } finally {
      this.refreshing = null;
      this.restsUntil = performance.now() + REST * (performance.now() - began);
    }
  }

  async _refresh() {
    const before = this.blocks.map((block) => [block, block.rows ?? []]);
    for (let index = 0; index < this.blocks.length; index++) {
      if (this.blocks[index].near) await this._load(this.blocks[index]);
    }
    const present = new Set(this.rows.map(({ id }) => id));
    return before.flatMap(([block, rows]) => (block.rows === null ? [] : rows)).filter(({ id }) => !present.has(id));
  }

  /** Show the rows again, without reading them. */
  redraw() {
    for (const block of this.blocks) if (block.rows) this._show(block);
  }

  _append(cursor) {
    const block = { cursor, next: undefined, rows: null, count: 0, notes: [], near: false, loading: null, node: el("div", {}) };
    show(block.node, el("p", { class: "foot" }, acting("Show more", () => this._load(block))));
    this.blocks.push(block);
    this.node.append(block.node);
    this.observer.observe(block.node);
    return block;
  }

  async _seen({ target, isIntersecting }) {
    const block = this.blocks.find(({ node }) => node === target);
    if (block === undefined) return;
    block.near = isIntersecting || target.contains(document.activeElement);
    if (block.near && block.rows === null) await this._load(block).catch(() => {}); // its button stays, to try again
    else if (!block.near && block.rows !== null) this._empty(block);
  }

  _empty(block) {
    block.node.style.height = `${block.node.offsetHeight}px`;
    block.rows = null;
    block.notes = [];
    block.node.replaceChildren();
  }

  _load(block) {
    block.loading ??= this._read(block).finally(() => { block.loading = null; });
    return block.loading;
  }

  async _read(block) {
    let page = await this.read(block.cursor);
    const said = notes(page);
    while (page.items.length === 0 && page.next_cursor !== null) { // a filter has left everything out
      page = await this.read(page.next_cursor);
      said.push(...notes(page));
    }
    if (!this.blocks.includes(block)) return;
    Object.assign(block, { rows: page.items, count: page.items.length, next: page.next_cursor, notes: said });
    this._show(block);
    this._continue(block);
    this.changed();
    if (!block.near) this._empty(block);
  }

  _show(block) {
    show(block.node, block.rows.map(this.render));
    block.node.style.height = "";
  }

  /** Let the next block begin where this one ends now: rows may have come or gone. */
  _continue(block) {
    const index = this.blocks.indexOf(block) + 1;
    if (block.next === null) {
      for (const { node } of this.blocks.splice(index)) node.remove();
    } else if (index === this.blocks.length) {
      this._append(block.next);
    } else if (this.blocks[index].cursor !== block.next) {
      const following = this.blocks[index];
      following.cursor = block.next;
      if (following.rows !== null) this._load(following).catch(() => {}); // the next refresh says what is wrong
    }
  }
}

/** By provider, because the words of one differ from page to page: they name seconds. */
function notes({ incomplete, warnings = [] }) {
  return [
    ...incomplete.map(({ provider = "a provider", problem }) => [provider, `${provider} is missing: ${problem?.detail ?? problem?.code ?? "it failed"}`]),
    ...warnings.map(({ provider, detail }) => [provider ? `${provider} ${detail}` : detail, provider ? `${provider}: ${detail}` : detail]),
  ];
}
