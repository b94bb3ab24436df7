/** Principals and their keys. A new key is shown once. */

import { el, foreign, notify, show } from "./dom.js";
import { when } from "./format.js";
import { acting, ask, badge, copyable, field, table } from "./ui.js";

const SCOPES = ["runtimes:read", "runtimes:create", "runtimes:lifecycle", "runtimes:connect", "runtimes:config", "native", "audit", "admin"];

export async function open({ client, main, every, signal }) {
  const made = el("div"), keys = el("div"), principals = el("div");
  const refresh = async () => {
    const [known, callers] = await Promise.all([client.get("keys", {}, { signal }), client.get("principals", {}, { signal })]);
    show(keys, keyTable(client, known.items, made, refresh));
    show(principals, principalTable(client, callers.items, refresh));
  };
  show(main, el("h1", {}, "Keys"), el("div", { class: "buttons" }, acting("New key", () => create(client, made, refresh), { class: "primary" })), made, keys, el("h2", {}, "Principals"), principals);
  await every(refresh);
}

function keyTable(client, items, made, refresh) {
  return table("Keys, and whose they are", [
    { title: "Principal", cell: (one) => foreign(one.principal) },
    { title: "Name", cell: (one) => foreign(one.name ?? "–") },
    { title: "Id", cell: (one) => el("code", {}, one.id) },
    { title: "From", cell: (one) => badge(one.source) },
    { title: "Created", cell: (one) => when(one.created_at) },
    { title: "Last used", cell: (one) => when(one.last_used_at) },
    { title: "Expires", cell: (one) => when(one.expires_at) },
    { title: "", cell: (one) => one.source === "api" && el("span", { class: "buttons" },
      acting("Rotate", async () => { reveal(made, await client.call("POST", `keys/${encodeURIComponent(one.id)}/rotate`, {})); await refresh(); }),
      acting("Revoke", async () => {
        const title = `Revoke the key of ${one.principal}?`;
        if (!(await ask({ title, text: "Calls with it are refused on all replicas within seconds.", action: "Revoke" }))) return;
        await client.call("DELETE", `keys/${encodeURIComponent(one.id)}`);
        notify("The key is revoked.");
        await refresh();
      }, { class: "danger" })) },
  ], items, "There are no keys.");
}

function principalTable(client, items, refresh) {
  const toggle = (one) => one.source === "api" && acting(one.disabled ? "Enable" : "Disable", async () => {
    if (!one.disabled && !(await ask({ title: `Disable ${one.name}?`, text: "All its keys are refused until it is enabled again.", action: "Disable" }))) return;
    await client.call("POST", `principals/${encodeURIComponent(one.name)}/${one.disabled ? "enable" : "disable"}`);
    await refresh();
  }, { class: one.disabled ? null : "danger" });
  return table("Principals, and their rights", [
    { title: "Name", cell: (one) => foreign(one.name) },
    { title: "From", cell: (one) => badge(one.source) },
    { title: "Scopes", cell: (one) => (one.scopes ?? []).join(" ") || "–", className: "wide" },
    { title: "State", cell: (one) => badge(one.disabled ? "disabled" : "enabled") },
    { title: "", cell: toggle },
  ], items);
}

async function create(client, made, refresh) {
  const principal = el("input", { required: true, name: "principal" }), name = el("input", { name: "name" }), template = el("input", { name: "template" });
  const expires = el("input", { type: "datetime-local" });
  const boxes = SCOPES.map((scope) => el("input", { type: "checkbox", value: scope }));
  const content = el("div", {}, field("Principal", principal, "Who calls with it. One that does not exist is made, with a template."),
    field("Template", template, "A principal of the settings whose rights a new one gets."), field("Name of the key", name), field("Expires", expires),
    el("fieldset", {}, el("legend", {}, "Scopes (none: those of the principal)"), boxes.map((box) => el("label", { class: "check" }, box, ` ${box.value}`))));
  const work = async () => {
    const scopes = boxes.filter(({ checked }) => checked).map(({ value }) => value);
    reveal(made, await client.call("POST", "keys", {
      principal: principal.value.trim(), ...(template.value && { template: template.value.trim() }), ...(name.value && { name: name.value.trim() }),
      ...(expires.value && { expires_at: new Date(expires.value).toISOString() }), ...(scopes.length > 0 && { scopes }),
    }));
  };
  if (await ask({ title: "New key", content, action: "Create", dangerous: false, work })) await refresh();
}

function reveal(place, key) {
  show(place, el("div", { class: "secret", role: "alert" }, el("p", {}, `The key of ${key.principal}. It is shown only now.`), copyable(key.key), acting("Hide", async () => show(place))));
}
