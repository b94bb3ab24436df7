/** All runtimes of all providers, with filters, and verbs on many at once. */

import { el, foreign, show } from "./dom.js";
import { age, credits, nameOf, plural, until } from "./format.js";
import { acting, badge, choice, field, link } from "./ui.js";
import { VERBS, act, possible } from "./verbs.js";

const STATES = ["running", "starting", "paused", "idle", "stopping", "stopped", "failed", "unknown"];
const FILTERS = ["name", "state", "kind", "provider", "owner"];
const PAGE = 100;
const KEPT_CURRENT = 300;

export async function open(context) {
  await new Fleet(context).begin();
}

class Fleet {
  constructor({ client, me, main, query, signal, every }) {
    Object.assign(this, { client, me, main, query, signal, every });
    this.rows = [];
    this.missing = [];
    this.cursor = null;
    this.selected = new Set();
    this.list = el("div", { class: "fleet" });
    this.bar = el("div", { class: "bulk", hidden: true });
    this.summary = el("p", { class: "small", role: "status" });
    this.more = acting("Show more", () => this.next());
  }

  async begin() {
    show(this.main, el("h1", {}, "Fleet"), this.filters(), this.labels(), this.summary, this.bar, this.list, el("div", { class: "foot" }, this.more));
    const near = new IntersectionObserver(([seen]) => seen.isIntersecting && this.cursor && !this.more.disabled && this.more.click(), { rootMargin: "600px" });
    near.observe(this.more);
    this.signal.addEventListener("abort", () => near.disconnect());
    await this.every(() => this.refresh());
  }

  filters() {
    const value = (name) => this.query.get(name) ?? "";
    const text = (name, label, hint = "") => field(label, el("input", { value: value(name), onchange: (event) => this.filter(name, event.target.value.trim()), "data-focus": name, placeholder: hint }));
    const states = [["", "any"], ...STATES.map((state) => [state, state])];
    const kinds = [["", "any"], ["durable", "durable"], ["browser", "browser"]];
    const label = el("input", { placeholder: "team=shop", onchange: (event) => event.target.value.includes("=") && this.addLabel(event.target.value.trim()) });
    const wide = matchMedia("(min-width: 48rem)").matches;
    return el("details", { class: "plain", open: wide || this.query.size > 0 }, el("summary", {}, "Filters"), el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      text("name", "Name", "exact"),
      field("State", choice(states, value("state"), (chosen) => this.filter("state", chosen))),
      field("Kind", choice(kinds, value("kind"), (chosen) => this.filter("kind", chosen))),
      text("provider", "Provider"), this.me.own_only ? null : text("owner", "Owner", "me"),
      field("Label", label)));
  }

  labels() {
    const given = this.query.getAll("label");
    return given.length > 0 && el("p", { class: "chips" }, given.map((label) =>
      acting(`${label} ✕`, () => this.go((query) => query.delete("label", label)), { class: "chip on", "aria-label": `Remove the filter ${label}` })));
  }

  go(change) {
    const query = new URLSearchParams(this.query);
    change(query);
    location.hash = `#/fleet${query.size > 0 ? `?${query}` : ""}`;
  }

  filter(name, value) {
    this.go((query) => (value ? query.set(name, value) : query.delete(name)));
  }

  addLabel(label) {
    this.go((query) => query.getAll("label").includes(label) || query.append("label", label));
  }

  read(cursor, limit = PAGE) {
    const query = Object.fromEntries(FILTERS.map((name) => [name, this.query.get(name)]));
    return this.client.get("runtimes", { ...query, label: this.query.getAll("label"), limit, cursor }, { signal: this.signal });
  }

  /** Read the rows again that are shown; of a longer list, only the first ones. */
  async refresh() {
    const wanted = Math.min(Math.max(this.rows.length, PAGE), KEPT_CURRENT);
    const rest = this.rows.slice(KEPT_CURRENT);
    let rows = [], cursor = null;
    this.missing = [];
    do {
      const page = await this.read(cursor);
      rows = rows.concat(page.items);
      this.note(page);
      cursor = page.next_cursor;
    } while (cursor !== null && rows.length < wanted);
    const known = new Set(rows.map(({ id }) => id));
    this.rows = [...rows, ...rest.filter(({ id }) => !known.has(id))];
    if (rest.length === 0) this.cursor = cursor;
    this.render();
  }

  /** Remember what a page says it leaves out. */
  note({ incomplete, warnings = [] }) {
    const missing = incomplete.map(({ provider, problem }) => `${provider} is missing: ${problem?.detail ?? problem?.code ?? "it failed"}`);
    const left = warnings.map(({ provider, detail }) => (provider ? `${provider}: ${detail}` : detail));
    this.missing = [...new Set([...this.missing, ...missing, ...left])];
  }

  async next() {
    const page = await this.read(this.cursor);
    this.cursor = page.next_cursor;
    this.note(page);
    const known = new Set(this.rows.map(({ id }) => id));
    const fresh = page.items.filter(({ id }) => !known.has(id));
    this.rows.push(...fresh);
    this.list.append(...fresh.map((row) => this.row(row)));
    this.status();
  }

  render() {
    this.selected = new Set([...this.selected].filter((id) => this.rows.some((row) => row.id === id)));
    show(this.list, this.head(), this.rows.map((row) => this.row(row)));
    this.status();
  }

  status() {
    this.more.hidden = this.cursor === null;
    const count = `${plural(this.rows.length, "runtime")}${this.cursor === null ? "" : " so far"}`;
    show(this.summary, this.rows.length === 0 && this.cursor === null ? "No runtime fits." : count,
      this.missing.map((text) => el("span", { class: "warning" }, ` ${text}`)));
    this.bulk();
  }

  head() {
    const all = el("input", { type: "checkbox", "aria-label": "Select all rows shown", "data-focus": "all", checked: this.rows.length > 0 && this.selected.size === this.rows.length,
      onchange: (event) => { this.selected = new Set(event.target.checked ? this.rows.map(({ id }) => id) : []); this.render(); } });
    return el("div", { class: "row head" }, all, ["Name", "State", "Where", "Owner", "Age", "Expires", "Cost", "Labels"].map((title) => el("span", {}, title)));
  }

  row(runtime) {
    const select = el("input", { type: "checkbox", "aria-label": `Select ${nameOf(runtime)}`, "data-focus": runtime.id, checked: this.selected.has(runtime.id),
      onchange: (event) => { this.selected[event.target.checked ? "add" : "delete"](runtime.id); this.bulk(); } });
    const labels = Object.entries(runtime.labels ?? {}).map(([name, value]) => `${name}=${value}`);
    return el("div", { class: "row" }, select,
      el("span", { class: "name" }, link(nameOf(runtime), `#/runtime/${encodeURIComponent(runtime.id)}`)),
      el("span", {}, badge(runtime.state)),
      el("span", {}, foreign(runtime.provider ?? ""), el("small", {}, ` ${runtime.kind}`)),
      el("span", { "data-title": "Owner" }, foreign(runtime.owner ?? "–")),
      el("span", { "data-title": "Age" }, age(runtime.created_at)),
      el("span", { "data-title": "Expires" }, until(runtime.expires_at)),
      el("span", { "data-title": "Cost" }, credits(runtime.cost)),
      el("span", { class: "chips" }, labels.slice(0, 4).map((label) => acting(label, () => this.addLabel(label), { class: "chip", "aria-label": `Only with the label ${label}` }))));
  }

  bulk() {
    const chosen = this.rows.filter(({ id }) => this.selected.has(id));
    this.bar.hidden = chosen.length === 0;
    if (chosen.length === 0 || !this.me.may("runtimes:lifecycle")) return show(this.bar);
    const progress = el("span", { class: "small", role: "status" });
    const verbs = VERBS.map((verb) => [verb, chosen.filter((runtime) => possible(runtime, verb))]).filter(([, fit]) => fit.length > 0);
    show(this.bar, el("strong", {}, `${plural(chosen.length, "runtime")} selected`),
      verbs.map(([verb, fit]) => acting(`${verb} ${fit.length}`, async () => {
        if (await act(this.client, verb, fit, (done, all) => show(progress, `${done} of ${all}`))) await this.refresh();
      }, { class: verb === "start" || verb === "resume" || verb === "pause" ? null : "danger" })), progress);
  }
}
