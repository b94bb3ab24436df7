/** Creates, first those that are not settled, and the decision about a parked one. */

import { el, foreign, notify, show } from "./dom.js";
import { age, when } from "./format.js";
import { Pages, acting, ask, badge, choice, field, link, table } from "./ui.js";

const STATES = [["open,unknown,parked", "not settled"], ["parked", "parked: a person has to decide"], ["", "all"]];

export async function open({ client, me, main, query, every, signal }) {
  const state = query.get("state") ?? STATES[0][0];
  const read = (cursor) => client.get("intents", { state, limit: 50, cursor }, { signal });
  const pages = new Pages(read, (items) => intents(client, me, items, () => pages.refresh()), { nothing: "No create is in this state." });
  show(main, el("h1", {}, "Creates"),
    el("p", { class: "small" }, "The gateway records every create before it sends it, and finds out what came of it. It never creates twice."),
    el("div", { class: "filters" }, field("Show", choice(STATES, state, (chosen) => { location.hash = `#/creates?${new URLSearchParams({ state: chosen })}`; }))),
    pages.node);
  await every(() => pages.refresh());
}

function intents(client, me, items, again) {
  return table("Creates, newest first", [
    { title: "Name", cell: (one) => (one.runtime_id ? link(one.name, `#/runtime/${encodeURIComponent(one.runtime_id)}`) : foreign(one.name)) },
    { title: "State", cell: (one) => badge(one.state) },
    { title: "Where", cell: (one) => foreign(`${one.provider} ${one.scope}`) },
    { title: "Who", cell: (one) => foreign(one.principal) },
    { title: "Age", className: "number", cell: (one) => age(one.created_at) },
    { title: "Why", cell: (one) => (one.problem ? foreign(one.problem.detail) : sends(one)), className: "wide" },
    { title: "", cell: (one) => me.may("admin") && one.state === "parked" && acting("Resolve", () => resolve(client, one, again), { "data-focus": one.id }) },
  ], items, "No create is in this state.");
}

/** How often it was sent, if a response was lost. */
function sends({ attempts }) {
  const lost = attempts.filter(({ first_send: at, phase }) => at && phase === "sent").length;
  return lost === 0 ? "–" : `sent ${attempts.length === 1 ? "once" : `${attempts.length} times`}, ${lost === 1 ? "once" : `${lost} times`} without a response`;
}

async function resolve(client, intent, again) {
  const made = el("input", { name: "made", placeholder: "the runtime's id" });
  const note = el("input", { name: "note", maxlength: 2000 });
  const sent = intent.attempts.filter(({ last_send: at }) => at).map(({ last_send: at, status }) => `sent ${when(at)}${status ? `, answered ${status}` : ", no answer"}`);
  const content = el("div", {}, sent.length > 0 && el("p", { class: "small" }, sent.join("; ")),
    field("It was made: its id", made, "Leave it empty if the provider has no such runtime. It can then be created again, so look there first."), field("Note for the record", note));
  const work = async () => {
    const decision = made.value.trim() ? { made: made.value.trim() } : { absent: true };
    const after = await client.call("POST", `intents/${encodeURIComponent(intent.id)}/resolve`, { ...decision, ...(note.value ? { note: note.value } : {}) });
    notify(`${intent.name} is ${after.state} now.`);
  };
  if (await ask({ title: `What came of ${intent.name}?`, text: intent.problem?.detail ?? "", content, action: "Resolve", work })) await again();
}
