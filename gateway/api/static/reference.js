/**
 * The API reference, from the OpenAPI document: each operation folded, with its parameters, a request, its responses
 * and errors. What an address names (`#createRuntime`, `#Runtime`) is unfolded.
 */
import { stackable, withCopyButton } from "./docs.js";
import { el } from "./dom.js";

const DEPTH = 6;
const article = document.querySelector("article");
const contents = document.querySelector("#contents ul");
const url = new URL("../../openapi.json", import.meta.url);

function refer(value) {
  return value?.$ref ? value.$ref.split("/").slice(1).reduce((part, name) => part[name], api) : value;
}

function named(schema) {
  return schema.$ref?.split("/").pop();
}

/** A text, whose `parts` are code. */
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/** The type of a value, with links to the models in it. */
function type(schema) {
  const options = schema.anyOf ?? schema.oneOf;
  if (schema.$ref) return el("a", { href: `#${named(schema)}` }, named(schema));
  if (options) return options.flatMap((option, at) => [at > 0 && " or ", type(option)]);
  if (schema.const !== undefined) return el("code", {}, JSON.stringify(schema.const));
  if (schema.enum) return schema.enum.flatMap((value, at) => [at > 0 && ", ", el("code", {}, JSON.stringify(value))]);
  if (schema.type === "array") return ["list of ", type(schema.items ?? {})];
  if (schema.additionalProperties?.type || schema.additionalProperties?.$ref) return ["object of ", type(schema.additionalProperties)];
  return `${[schema.type ?? "any"].flat().join(" or ")}${schema.format ? ` (${schema.format})` : ""}`;
}

/** A value that the schema allows, as an example. */
function sample(schema, depth = 0) {
  if (schema.$ref) return depth > DEPTH ? {} : sample(refer(schema), depth + 1);
  if (schema.examples?.length) return schema.examples[0];
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return sample(options[0], depth);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.type === "array") return depth > DEPTH ? [] : [sample(schema.items ?? {}, depth + 1)];
  if (schema.properties) {
    const names = Object.keys(schema.properties).filter((name) => !schema.additionalProperties || schema.required?.includes(name));
    return Object.fromEntries(names.map((name) => [name, sample(schema.properties[name], depth + 1)]));
  }
  const type = [schema.type].flat()[0];
  return { string: schema.format === "date-time" ? "2026-01-31T12:00:00Z" : "…", integer: schema.minimum ?? 1, number: 1.5, boolean: true, object: {} }[type] ?? null;
}

/** What a request has at least: the required members of its body. */
function smallest(schema) {
  const model = refer((refer(schema).oneOf ?? [schema])[0]);
  return Object.fromEntries((model.required ?? []).map((name) => [name, sample(model.properties[name], 1)]));
}

function table(head, rows) {
  return el("div", { class: "scroll", tabindex: "0" },
    stackable(el("table", {}, el("thead", {}, el("tr", {}, head.map((name) => el("th", {}, name)))), el("tbody", {}, rows))));
}

function code(text) {
  const holder = el("div", {}, el("pre", { tabindex: "0" }, el("code", {}, text)));
  withCopyButton(holder.firstChild);
  return holder;
}

function members(model) {
  return table(["member", "type", "meaning"], Object.entries(model.properties ?? {}).map(([name, part]) =>
    el("tr", {}, el("td", {}, el("code", {}, name), model.required?.includes(name) && el("small", {}, " required")),
      el("td", {}, type(part)), el("td", {}, prose(part.description)))));
}

function folded(id, className, summary, fill) {
  const inside = el("div");
  const details = el("details", { id, class: className, ontoggle: () => details.open && unfold() }, summary, inside);
  const unfold = () => inside.childElementCount === 0 && inside.append(...fill());
  return Object.assign(details, { unfold });
}

function curl(method, path, operation) {
  const target = path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const json = operation.requestBody?.content["application/json"];
  const body = json && (Object.values(json.examples ?? {})[0]?.value ?? smallest(json.schema));
  return [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "$RTGW_SERVER${target}"`,
    operation.security.length > 0 && '-H "Authorization: Bearer $RTGW_API_KEY"',
    body && "-H 'Content-Type: application/json'",
    body && `-d '${compact(body).replaceAll("'", "'\\''")}'`].filter(Boolean).join(" \\\n     ");
}

/** JSON on one line if it is short. */
function compact(value) {
  const line = JSON.stringify(value);
  return line.length > 60 ? JSON.stringify(value, null, 2) : line;
}

function responses(operation) {
  const rows = Object.entries(operation.responses).filter(([status]) => status < 400).map(([status, response]) => {
    const [[media, content] = []] = Object.entries(response.content ?? {});
    return el("tr", {}, el("td", {}, status), el("td", {}, prose(response.description)),
      el("td", {}, content?.schema?.type === "string" || !content?.schema ? media ?? "no body" : type(content.schema)));
  });
  const json = Object.values(operation.responses).map((response) => response.content?.["application/json"]?.schema).find(Boolean);
  return [el("h3", {}, "Responses"), table(["status", "meaning", "body"], rows),
    json && el("details", {}, el("summary", {}, "Example of a response"), code(JSON.stringify(sample(json), null, 2)))];
}

function errors(operation) {
  const link = (name) => el("a", { href: new URL(`../errors/${name}`, import.meta.url).href }, name);
  const codes = Object.entries(operation.responses).filter(([status]) => status >= 400).flatMap(([status, response]) =>
    Object.keys(refer(response).content["application/problem+json"].examples).map((name) => [el("span", {}, `${status} `, link(name)), " "]));
  return [el("h3", {}, "Errors"), el("p", { class: "codes" }, codes, el("a", { href: "#errors" }, "Their form"))];
}

function operation(path, method, given) {
  const parameters = (given.parameters ?? []).map((one) => refer(one));
  const body = given.requestBody?.content["application/json"].schema;
  const summary = el("summary", {}, el("span", { class: `method ${method}` }, method.toUpperCase()),
    el("code", {}, path), el("span", {}, given.summary));
  return folded(given.operationId, "operation", summary, () => [
    given.description && el("p", {}, prose(given.description)),
    parameters.length > 0 && [el("h3", {}, "Parameters"), table(["name", "in", "type", "meaning"], parameters.map((one) =>
      el("tr", {}, el("td", {}, el("code", {}, one.name), one.required && el("small", {}, " required")), el("td", {}, one.in),
        el("td", {}, type(one.schema)), el("td", {}, prose(one.description)))))],
    body && [el("h3", {}, "Body"), el("p", {}, type(body), given.requestBody.required ? "" : ", may be left out")],
    el("h3", {}, "Request"), code(curl(method, path, given)), responses(given), errors(given),
  ].flat(Infinity).filter(Boolean));
}

function heading(id, text) {
  contents.append(el("li", { class: "level2" }, el("a", { href: `#${id}` }, text)));
  return el("h2", { id }, text, el("a", { class: "anchor", href: `#${id}`, "aria-label": `Link to: ${text}` }, "#"));
}

/** Unfold and show what the address names. */
function show() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.unfold) {
    named.unfold();
    named.open = true;
  }
  named?.scrollIntoView();
}

const response = await fetch(url);
if (!response.ok) throw new Error(`The OpenAPI document is not available: ${response.status}.`);
const api = await response.json();
const { schemas, examples } = api.components;
const operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, given]) => ({ path, method, given })));
for (const { name } of api.tags) {
  article.append(heading(name, name[0].toUpperCase() + name.slice(1)),
    ...operations.filter(({ given }) => given.tags[0] === name).map(({ path, method, given }) => operation(path, method, given)));
}
article.append(heading("errors", "Errors"),
  el("p", {}, "Every error of /v1 is a problem document of this form; its code says what to do."),
  members(schemas.Problem), code(JSON.stringify(examples.rate_limited.value, null, 2)),
  heading("models", "Models"), ...Object.entries(schemas).map(([name, model]) =>
    folded(name, "model", el("summary", {}, el("code", {}, name), el("span", {}, prose(model.description))), () => [
      model.enum ? el("p", {}, type(model)) : members(model)])));
article.addEventListener("click", ({ target }) => {
  const opened = target.closest("summary")?.parentElement;
  if (opened?.id) history.replaceState(null, "", `#${opened.id}`);
});
addEventListener("hashchange", show);
show();
