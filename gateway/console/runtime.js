/** One runtime: its state as it changes, what can be done with it, its config, bindings, connections and audit trail. */

import { ETAG, runtimePath } from "./client.js";
import { el, foreign, notify, show } from "./dom.js";
import { MOST_OF_A_LABEL, age, capital, credits, nameOf, until, when } from "./format.js";
import { acting, ask, badge, copyable, facts, failure, field, link, table } from "./ui.js";
import { VERBS, act, possible } from "./verbs.js";

export async function open({ client, me, main, below, signal, every, follow }) {
  const [id] = below;
  const head = el("section"), parts = el("div", { class: "parts" });
  let runtime = await client.get(runtimePath(id), {}, { signal });
  const render = () => show(head, top(client, me, runtime, () => client.get(runtimePath(id)).then((read) => { runtime = read; render(); }, gone)));
  const gone = (problem) => show(head, failure(problem), link("All runtimes", "#/fleet"));
  render();
  show(main, el("p", {}, link("← Fleet", "#/fleet")), head, parts);
  let over = false;
  const end = (problem) => { over = true; gone(problem); };
  every(async () => over || render()); // times pass, also without an event
  follow(runtimePath(id, "events"), (name, data) => {
    if (name === "runtime") { runtime = data; render(); }
    if (name === "gone") end({ message: "The runtime does not exist any longer." });
    return over;
  }).catch(end);
  parts.append(...sections(client, me, runtime).map(([title, read]) => section(title, read)));
}

function top(client, me, runtime, again) {
  const verbs = me.may("runtimes:lifecycle") ? VERBS.filter((verb) => runtime.actions?.[verb]) : [];
  return [
    el("h1", {}, foreign(nameOf(runtime)), " ", badge(runtime.state)),
    runtime.state_reason && el("p", {}, foreign(String(runtime.state_reason))),
    el("div", { class: "buttons" }, verbs.map((verb) => {
      const fits = possible(runtime, verb);
      return acting(capital(verb), async () => { if (await act(client, verb, [runtime])) await again(); },
        { disabled: !fits, title: fits ? null : runtime.actions[verb].reason ?? `not while ${runtime.state}`, "data-focus": verb, class: ["stop", "reset", "delete"].includes(verb) ? "danger" : null });
    })),
    facts({
      Id: el("code", {}, runtime.id), Provider: runtime.provider, Scope: runtime.scope, Kind: runtime.kind, Owner: runtime.owner,
      Description: runtime.description, Age: `${age(runtime.created_at)} (${when(runtime.created_at)})`, Expires: runtime.expires_at && `${until(runtime.expires_at)} (${when(runtime.expires_at)})`,
      Cost: runtime.cost && `${credits(runtime.cost)} credits`,
      Labels: runtime.labels && Object.keys(runtime.labels).length > 0 && el("span", { class: "chips" }, Object.entries(runtime.labels).map(([name, value]) => chip(`${name}=${value}`))),
      "At the provider": Object.entries(runtime.provider_state ?? {}).filter(([, value]) => value).map(([name, value]) => `${name} ${value}`).join(", "),
    }),
  ];
}

function chip(label) {
  return label.length > MOST_OF_A_LABEL ? foreign(label, "chip") : link(label, `#/fleet?${new URLSearchParams({ label })}`, { class: "chip" });
}

function sections(client, me, runtime) {
  return [
    runtime.durable && ["Config", () => config(client, me, runtime)],
    runtime.durable && ["Capabilities", () => bindings(client, me, runtime)],
    me.may("runtimes:connect") && ["Connect", () => connect(client, runtime)],
    me.may("audit") && ["Audit", () => audit(client, runtime)],
  ].filter(Boolean);
}

/** A part that is read when it is opened. */
function section(title, read) {
  const body = el("div");
  const load = async () => {
    show(body, el("p", { class: "small" }, "Reading …"));
    show(body, await read().catch((problem) => failure(problem, load)));
  };
  return el("details", { ontoggle: (event) => event.target.open && load() }, el("summary", {}, title), body);
}

async function config(client, me, runtime) {
  const path = runtimePath(runtime.id, "config");
  const read = await client.get(path);
  const text = el("textarea", { rows: 16, spellcheck: "false", "aria-label": "Config as JSON", readonly: !me.may("runtimes:config") });
  text.value = JSON.stringify(read.config, null, 2);
  let tag = read[ETAG];
  const save = acting("Replace the config", async () => {
    let parsed;
    try {
      parsed = JSON.parse(text.value);
    } catch (error) {
      return notify(`This is not JSON: ${error.message}`, "error");
    }
    const saved = await client.call("PUT", path, { config: parsed }, { headers: tag ? { "If-Match": tag } : {} });
    tag = saved[ETAG];
    text.value = JSON.stringify(saved.config, null, 2);
    notify(["The config is replaced.", ...(saved.warnings ?? []).map(({ pointer, detail }) => `${pointer}: ${detail}`)].join(" "));
  }, { class: "primary" });
  return [el("p", { class: "small" }, `Version ${read.config_version ?? "–"}. It is replaced as a whole, and refused if somebody else has changed it.`), text, me.may("runtimes:config") && save];
}

async function bindings(client, me, runtime) {
  const { items } = await client.get(runtimePath(runtime.id, "capabilities"));
  const toggle = (binding) => acting(binding.enabled ? "Disable" : "Enable", async () => {
    Object.assign(binding, await client.call("PATCH", runtimePath(runtime.id, "capabilities", binding.id), { enabled: !binding.enabled }));
    notify(`${binding.name} is ${binding.enabled ? "enabled" : "disabled"}.`);
  });
  return table("Capabilities", [
    { title: "Name", cell: (one) => foreign(one.name) },
    { title: "Version", cell: (one) => foreign(one.version ?? "–") },
    { title: "Enabled", cell: (one) => (one.enabled ? "yes" : "no") },
    ...(me.may("runtimes:config") ? [{ title: "", cell: toggle }] : []),
  ], items, "No capability is bound.");
}

function connect(client, runtime) {
  const shown = el("div");
  const make = acting("Make addresses", async () => {
    const { items } = await client.call("POST", runtimePath(runtime.id, "connections"), {});
    show(shown, items.map((one) => facts({ Protocol: one.protocol, Address: copyable(one.url), Token: one.token && copyable(one.token), Expires: one.expires_at && until(one.expires_at) })));
  }, { class: "primary" });
  const revoke = acting("Revoke mine", async () => {
    if (!(await ask({ title: "Revoke your addresses?", text: "Connections that you have open through the gateway are closed.", action: "Revoke" }))) return;
    await client.call("DELETE", runtimePath(runtime.id, "connections"));
    show(shown, el("p", {}, "They are void."));
  }, { class: "danger" });
  return Promise.resolve([el("p", { class: "small" }, "Addresses are secrets: who has one can use the runtime until it expires."), el("div", { class: "buttons" }, make, revoke), shown]);
}

async function audit(client, runtime) {
  const { items } = await client.get("audit", { runtime: runtime.id, limit: 20 });
  return table("The last actions", [
    { title: "When", cell: (one) => when(one.at) },
    { title: "Who", cell: (one) => foreign(one.principal ?? "–") },
    { title: "Action", cell: (one) => foreign(one.action) },
    { title: "Outcome", cell: (one) => badge(one.outcome) },
  ], items, "Nothing is recorded.");
}
