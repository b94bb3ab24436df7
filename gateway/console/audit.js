/** Who did what. */

import { el, foreign, show } from "./dom.js";
import { capital, when } from "./format.js";
import { Pages, badge, choice, field, link, table } from "./ui.js";

const OUTCOMES = [["", "any"], ...["ok", "refused", "failed", "unknown"].map((outcome) => [outcome, outcome])];
const TEXTS = { principal: "name", action: "createRuntime", runtime: "its id" };

export async function open({ client, main, query, every, signal }) {
  const filter = (name, value) => {
    const next = new URLSearchParams(query);
    if (value) next.set(name, value);
    else next.delete(name);
    location.hash = `#/audit?${next}`;
  };
  const read = (cursor) => client.get("audit", { ...Object.fromEntries(query), limit: 50, cursor }, { signal });
  const pages = new Pages(read, events, { nothing: "Nothing is recorded." });
  show(main, el("h1", {}, "Audit"),
    el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, Object.entries(TEXTS).map(([name, hint]) =>
      field(capital(name), el("input", { value: query.get(name) ?? "", placeholder: hint, onchange: (event) => filter(name, event.target.value.trim()) }))),
      field("Outcome", choice(OUTCOMES, query.get("outcome") ?? "", (chosen) => filter("outcome", chosen)))),
    pages.node);
  await every(() => pages.refresh());
}

function events(items) {
  return table("Actions, newest first", [
    { title: "When", cell: (one) => when(one.at) },
    { title: "Who", cell: (one) => foreign(one.principal ?? "–") },
    { title: "Action", cell: (one) => el("span", {}, foreign(one.action), one.count > 1 ? ` ×${one.count}` : "") },
    { title: "Outcome", cell: (one) => el("span", {}, badge(one.outcome), one.code ? ` ${one.code}` : "") },
    { title: "Runtime", cell: (one) => (one.runtime_id ? link(one.runtime_id, `#/runtime/${encodeURIComponent(one.runtime_id)}`) : "–"), className: "wide" },
    { title: "Request", cell: (one) => el("code", { class: "clipped", title: one.request_id }, one.request_id ?? "–") },
  ], items);
}
