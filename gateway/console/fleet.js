/** All runtimes of all providers, with filters, and verbs on many at once. */

import { el, foreign, notify, show } from "./dom.js";
import { MOST_OF_A_LABEL, age, capital, credits, nameOf, plural, until } from "./format.js";
import { acting, badge, choice, field, link } from "./ui.js";
import { VERBS, act, possible } from "./verbs.js";
import { Windowed } from "./windowed.js";

const STATES = ["running", "starting", "paused", "idle", "stopping", "stopped", "failed", "unknown"];
const FILTERS = ["name", "state", "kind", "provider", "owner"];
const NUMBERS = ["Age", "Expires", "Credits"];
const PAGE = 100;
const MOST_LABELS = 4;
const COUNT_EVERY = 60_000; // milliseconds

export async function open(context) {
  await new Fleet(context).begin();
}

class Fleet {
  constructor({ client, me, main, query, signal, every }) {
    Object.assign(this, { client, me, main, query, signal, every });
    this.selected = new Map();
    this.list = new Windowed({ read: (cursor) => this.read(cursor), render: (row) => this.row(row), changed: () => this.status(), signal });
    this.head = el("div", { class: "row head" });
    this.bar = el("div", { class: "bulk", hidden: true });
    this.figures = el("p", { class: "figures chips", hidden: true });
    this.counted = 0;
    this.summary = el("p", { class: "small summary", role: "status" }, "Reading …");
  }

  async begin() {
    const titles = ["Name", "State", "Provider", "Owner", "Age", "Expires", "Credits", "Labels"];
    this.all = el("input", { type: "checkbox", "aria-label": "Select all rows shown", onchange: () => this.select(this.all.checked) });
    this.all.hidden = !this.me.may("runtimes:lifecycle"); // else there is nothing to do with what is selected
    show(this.head, el("span", {}, this.all), titles.map((title) => el("span", { class: NUMBERS.includes(title) ? "number" : null }, title)));
    show(this.main, el("h1", {}, "Fleet"), this.figures, this.filters(), this.labels(), this.summary, this.bar, el("div", { class: "fleet" }, this.head, this.list.node));
    await this.every(() => this.refresh());
  }

  /** Read the rows again that are near the visible part, and sometimes the figures. */
  async refresh(always = false) {
    for (const { id } of await this.list.refresh(always)) this.selected.delete(id);
    this.status();
    if (!always && Date.now() - this.counted < COUNT_EVERY) return;
    this.counted = Date.now();
    this.count().catch(() => { this.figures.hidden = true; });
  }

  /** How many runtimes there are in each state, and what they cost, whatever the filters are. */
  async count() {
    const { total, items, incomplete } = await this.client.get("usage", { by: "state" }, { signal: this.signal });
    const missing = incomplete.map(({ provider }) => provider).filter(Boolean).join(", ");
    show(this.figures, el("strong", {}, plural(total.runtimes, "runtime")),
      items.map(({ value, runtimes }) => el("a", { class: "chip", href: `#/fleet?state=${value}` }, `${value} ${runtimes.toLocaleString()}`)),
      total.cost && el("span", { class: "small" }, `${credits(total.cost)} credits, known for ${total.cost.runtimes.toLocaleString()}`),
      incomplete.length > 0 && el("span", { class: "warning" }, `without ${missing || plural(incomplete.length, "provider")}`));
    this.figures.hidden = false;
  }

  filters() {
    const value = (name) => this.query.get(name) ?? "";
    const text = (name, label, hint = "") => field(label, el("input", { value: value(name), onchange: (event) => this.filter(name, event.target.value.trim()), placeholder: hint }));
    const states = [["", "any"], ...STATES.map((state) => [state, state])];
    const kinds = [["", "any"], ["durable", "durable"], ["browser", "browser"]];
    const label = el("input", { placeholder: "team=shop", onchange: (event) => this.addLabel(event.target.value.trim()) });
    const wide = matchMedia("(min-width: 48rem)").matches;
    return el("details", { class: "plain", open: wide || this.query.size > 0 }, el("summary", {}, "Filters"), el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      text("name", "Name", "exact"),
      field("State", choice(states, value("state"), (chosen) => this.filter("state", chosen))),
      field("Kind", choice(kinds, value("kind"), (chosen) => this.filter("kind", chosen))),
      this.me.view === "full" && text("provider", "Provider"), this.me.own_only ? null : text("owner", "Owner", "me"),
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
    if (!/.=/.test(label)) return label && notify("A label to filter by has the form key=value.", "error");
    this.go((query) => query.getAll("label").includes(label) || query.append("label", label));
  }

  read(cursor) {
    const query = Object.fromEntries(FILTERS.map((name) => [name, this.query.get(name)]));
    return this.client.get("runtimes", { ...query, label: this.query.getAll("label"), limit: PAGE, cursor }, { signal: this.signal });
  }

  select(checked) {
    for (const row of this.list.rows) checked ? this.selected.set(row.id, row) : this.selected.delete(row.id);
    this.list.redraw();
    this.bulk();
  }

  status() {
    const { rows, count, ended, notes } = this.list;
    for (const row of rows) if (this.selected.has(row.id)) this.selected.set(row.id, row);
    this.all.checked = rows.length > 0 && rows.every(({ id }) => this.selected.has(id));
    show(this.summary, count === 0 && ended ? "No runtime fits." : `${count.toLocaleString()} shown${ended ? "" : ", more below"}`,
      notes.map((text) => el("span", { class: "warning" }, text)));
    this.bulk();
  }

  row(runtime) {
    const select = el("input", { type: "checkbox", "aria-label": `Select ${nameOf(runtime)}`, checked: this.selected.has(runtime.id), hidden: this.all.hidden,
      onchange: ({ target }) => { target.checked ? this.selected.set(runtime.id, runtime) : this.selected.delete(runtime.id); this.bulk(); } });
    const labels = Object.entries(runtime.labels ?? {}).map(([name, value]) => `${name}=${value}`);
    return el("div", { class: "row", "data-key": runtime.id }, el("span", {}, select),
      el("span", { class: "name" }, link(nameOf(runtime), `#/runtime/${encodeURIComponent(runtime.id)}`)),
      el("span", {}, badge(runtime.state)),
      el("span", {}, foreign(runtime.provider ?? ""), el("small", {}, ` ${runtime.kind}`)),
      el("span", { "data-title": "Owner" }, foreign(runtime.owner ?? "–")),
      el("span", { class: "number", "data-title": "Age" }, age(runtime.created_at)),
      el("span", { class: "number", "data-title": "Expires" }, until(runtime.expires_at)),
      el("span", { class: "number", "data-title": "Credits" }, credits(runtime.cost)),
      el("span", { class: "chips" }, labels.slice(0, MOST_LABELS).map((label) => this.chip(label)),
        labels.length > MOST_LABELS && el("small", {}, `+${labels.length - MOST_LABELS}`)));
  }

  /** A label, which filters when it is clicked, unless the API refuses so long a filter. */
  chip(label) {
    if (label.length > MOST_OF_A_LABEL) return foreign(label, "chip");
    return acting(label, () => this.addLabel(label), { class: "chip", "aria-label": `Only with the label ${label}` });
  }

  bulk() {
    const chosen = [...this.selected.values()];
    this.bar.hidden = chosen.length === 0;
    if (chosen.length === 0) return show(this.bar);
    const progress = el("span", { class: "small", role: "status" });
    const verbs = VERBS.map((verb) => [verb, chosen.filter((runtime) => possible(runtime, verb))]).filter(([, fit]) => fit.length > 0);
    show(this.bar, el("strong", {}, `${plural(chosen.length, "runtime")} selected`),
      verbs.map(([verb, fit]) => acting(`${capital(verb)} ${fit.length}`, async () => {
        if (await act(this.client, verb, fit, (done, all) => show(progress, `${done} of ${all}`))) await this.refresh(true);
      }, { class: verb === "start" || verb === "resume" || verb === "pause" ? null : "danger" })), progress);
  }
}
