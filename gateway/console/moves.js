/** Moves of runtimes between providers: their plans, progress, and what can be done with them. */

import { el, foreign, notify, show } from "./dom.js";
import { age, capital } from "./format.js";
import { Pages, acting, ask, badge, facts, link, table } from "./ui.js";

const WORKING = ["planning", "applying", "rolling_back"];

export async function open(context) {
  await (context.below.length > 0 ? one(context) : all(context));
}

async function all({ client, main, every, signal }) {
  const pages = new Pages((cursor) => client.get("moves", { limit: 50, cursor }, { signal }), (items) => table("Moves, newest first", [
    { title: "Move", cell: (move) => link(move.id, `#/moves/${encodeURIComponent(move.id)}`) },
    { title: "State", cell: (move) => badge(move.state) },
    { title: "From, to", cell: (move) => foreign(`${move.request.source.provider} → ${move.request.target.provider}`) },
    { title: "Runtimes", cell: (move) => counts(move) },
    { title: "Age", className: "number", cell: (move) => age(move.created_at) },
  ], items), { nothing: "There is no move. Plan one with: runtime-gateway migrate plan --from A --to B" });
  show(main, el("h1", {}, "Moves"), pages.node);
  await every(() => pages.refresh());
}

function counts(move) {
  return Object.entries(move.counts).map(([state, count]) => `${count} ${state.replaceAll("_", " ")}`).join(", ") || "–";
}

async function one({ client, main, below, signal, every, follow }) {
  const id = below[0], path = `moves/${encodeURIComponent(id)}`, head = el("section");
  const items = new Pages((cursor) => client.get(`${path}/items`, { limit: 100, cursor }, { signal }), itemTable, { nothing: "No runtime fits the plan." });
  const effects = { open: false };
  const render = (move) => show(head, top(client, path, move, effects));
  render(await client.get(path, {}, { signal }));
  show(main, el("p", {}, link("← Moves", "#/moves")), head, items.node);
  follow(`${path}/events`, (name, data) => { if (name === "move") render(data); });
  await every(() => items.refresh());
}

function top(client, path, move, effects) {
  const all = Object.values(move.counts).reduce((sum, count) => sum + count, 0);
  const over = ["moved", "failed", "blocked", "skipped", "rolled_back"].reduce((sum, state) => sum + (move.counts[state] ?? 0), 0);
  const say = (verb, text, body) => acting(capital(verb), async () => {
    if (text && !(await ask({ title: `${capital(verb)} this move?`, text, action: capital(verb) }))) return;
    await client.call("POST", `${path}/${verb}`, body);
    notify(`${verb} is under way.`);
  }, { "data-focus": verb, class: verb === "apply" ? "primary" : null });
  const verbs = [
    move.state === "planned" && say("apply", `${move.counts.planned ?? 0} runtimes go to ${move.request.target.provider}.`, { digest: move.digest }),
    move.state === "applying" && say("pause", ""),
    (move.state === "paused" || (move.state === "done" && move.counts.failed > 0)) && say("resume", ""),
    ["applying", "paused", "planned"].includes(move.state) && say("cancel", "Runtimes that have moved stay moved; the others stay where they are."),
    ["done", "paused", "cancelled", "failed"].includes(move.state) && say("rollback", "Every moved runtime goes back. One that has changed at the target prevents it.", {}),
  ];
  return [
    el("h1", {}, foreign(`${move.request.source.provider} → ${move.request.target.provider}`), " ", badge(move.state)),
    move.problem && el("p", { class: "failure" }, foreign(move.problem.detail)),
    el("progress", { max: Math.max(all, 1), value: over, "aria-label": `${over} of ${all} runtimes` }),
    facts({ Runtimes: counts(move), When: move.request.when, "Source after": move.request.source_after, By: move.principal, Age: age(move.created_at), Digest: move.digest && el("code", {}, move.digest) }),
    move.side_effects.length > 0 && el("details", { open: effects.open, ontoggle: ({ target }) => { effects.open = target.open; } },
      el("summary", {}, "What belongs to the account, and stays"), el("ul", {}, move.side_effects.map((text) => el("li", {}, foreign(text))))),
    el("div", { class: "buttons" }, verbs),
    WORKING.includes(move.state) && el("p", { class: "small", role: "status" }, `${over} of ${all} runtimes.`),
  ];
}

function itemTable(items) {
  return table("Runtimes of the move", [
    { title: "Name", cell: (item) => link(item.name ?? item.runtime_id, `#/runtime/${encodeURIComponent(item.runtime_id)}`) },
    { title: "State", cell: (item) => badge(item.state) },
    { title: "Lost", cell: (item) => item.lost.map(({ what }) => what).join(", ") || "–", className: "wide" },
    { title: "Changes", cell: (item) => item.changes.map(({ pointer }) => pointer).join(", ") || "–", className: "wide" },
    { title: "Reason", cell: (item) => foreign(item.problem?.detail ?? item.blocked_by[0]?.detail ?? item.waits_for ?? "–"), className: "wide" },
  ], items);
}
