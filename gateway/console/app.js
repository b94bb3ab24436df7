/** The frame of the console: signing in, the navigation by what the caller may do, and the page that the URL names. */

import { Client, Problem } from "./client.js";
import { el, foreign, notify, show } from "./dom.js";
import { button, choice, failure, field } from "./ui.js";
import * as audit from "./audit.js";
import * as creates from "./creates.js";
import * as fleet from "./fleet.js";
import * as keys from "./keys.js";
import * as moves from "./moves.js";
import * as providers from "./providers.js";
import * as runtime from "./runtime.js";

const PAGES = [
  { path: "fleet", title: "Fleet", page: fleet, may: (me) => me.may("runtimes:read") },
  { path: "providers", title: "Providers", page: providers, may: (me) => me.may("runtimes:read") && me.view === "full" },
  { path: "creates", title: "Creates", page: creates, may: (me) => me.may("runtimes:read") && me.view === "full" },
  { path: "moves", title: "Moves", page: moves, may: (me) => me.may("admin") },
  { path: "keys", title: "Keys", page: keys, may: (me) => me.may("admin") },
  { path: "audit", title: "Audit", page: audit, may: (me) => me.may("audit") },
];
const INTERVALS = [["0", "off"], ["5", "5 s"], ["15", "15 s"], ["60", "1 min"]];
const INTERVAL = "rtgw-interval";
const KEY = /^[!-~]+$/;
const OVER = [401, 403, 404, 410]; // what a stream answers that will not come again
const PAUSE = 5000; // milliseconds until a stream is read again

const client = new Client();
const main = document.getElementById("main");
let me = null;
let leave = () => {}; // ends what the page does that is shown, and closes its dialog

function brand() {
  return el("strong", { class: "brand" }, el("img", { src: "console/icon.svg", alt: "", width: 22, height: 22 }), el("span", {}, "runtime-gateway"));
}

function signIn(text = "") {
  leave();
  me = null;
  show(document.getElementById("top"), brand());
  const key = el("input", { type: "password", name: "key", required: true, autocomplete: "off" });
  const keep = el("input", { type: "checkbox", name: "keep" });
  const onsubmit = async (event) => {
    event.preventDefault();
    if (!KEY.test(key.value.trim())) return signIn("This is not a key: a key has only letters, digits and signs of ASCII.");
    client.signIn(key.value.trim(), keep.checked);
    await enter(true);
  };
  show(main, el("form", { class: "signin", onsubmit },
    el("h1", {}, "Sign in"),
    text && el("p", { class: "failure", role: "alert" }, text),
    field("Key or token", key, "It is sent to this gateway only. It stays in memory unless you keep it for this tab."),
    el("label", { class: "check" }, keep, " Keep it for this tab"),
    el("button", { class: "primary" }, "Sign in")));
  key.focus();
}

/** Learn who the caller is: without a key, where the gateway needs none. */
async function enter(tried) {
  try {
    const found = await client.get("me");
    me = { ...found, may: (scope) => found.scopes.includes(scope) };
  } catch (problem) {
    if ([0, 429].includes(problem.status) || problem.status >= 500) return unknown(problem, tried);
    client.signOut();
    return signIn(tried || problem.status !== 401 ? problem.message : "");
  }
  frame();
  route();
}

/** The gateway does not say who the caller is, as when it is starting. The key is kept. */
function unknown(problem, tried) {
  show(document.getElementById("top"), brand(), el("div", { class: "account" }, signOut()));
  show(main, failure(problem, () => enter(tried)));
}

function signOut() {
  return client.key && button("Sign out", () => { client.signOut(); signIn(); });
}

const interval = () => sessionStorage.getItem(INTERVAL) ?? "15";

function frame() {
  const chosen = choice(INTERVALS, interval(), (value) => {
    sessionStorage.setItem(INTERVAL, value);
    dispatchEvent(new Event(INTERVAL));
  }, { "aria-label": "Refresh every" });
  show(document.getElementById("top"),
    brand(),
    el("nav", { "aria-label": "Pages" }, PAGES.filter(({ may }) => may(me)).map(({ path, title }) => el("a", { href: `#/${path}` }, title))),
    el("div", { class: "account" },
      el("label", { class: "inline" }, el("span", {}, "Refresh"), chosen),
      el("span", { class: "who" }, foreign(me.principal)),
      el("a", { href: "docs" }, "Docs"),
      signOut()));
}

/** Show the page of the URL's fragment: `#/fleet?label=team%3Dshop`, `#/runtime/ID`. */
function route() {
  if (me === null) return;
  leave();
  const [, path, query] = location.hash.match(/^#?\/*([^?]*)\??(.*)$/s);
  const [name, ...below] = decoded(path.split("/").filter(Boolean));
  const allowed = PAGES.filter(({ may }) => may(me));
  if (allowed.length === 0) return show(main, el("p", { class: "empty" }, "This key may not read runtimes."));
  const known = name === "runtime" && below.length > 0 ? { page: runtime, title: below[0], path: "fleet" } : allowed.find((one) => one.path === name);
  if (known === undefined) return location.replace(`#/${allowed[0].path}`);
  for (const one of document.querySelectorAll("#top nav a")) {
    one.toggleAttribute("aria-current", one.getAttribute("href") === `#/${known.path}`);
  }
  document.title = `${known.title} · runtime-gateway`;
  const ended = new AbortController();
  leave = () => {
    ended.abort();
    for (const dialog of document.querySelectorAll("dialog")) dialog.close("no");
  };
  const before = main.firstElementChild;
  known.page.open({
    client, me, main, below, query: new URLSearchParams(query), signal: ended.signal,
    every: (work) => repeat(work, ended.signal),
    follow: (path, onEvent) => follow(path, onEvent, ended.signal),
  }).catch((problem) => {
    if (ended.signal.aborted) return;
    const filters = main.firstElementChild === before ? null : main.querySelector("details:has(.filters), .filters");
    show(main, el("h1", {}, foreign(known.title)), filters, failure(problem, route));
  });
}

/** The parts of a path; a URL that was cut may have one that cannot be decoded. */
function decoded(parts) {
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return [];
  }
}

/** Do this work now and again, while the page is shown and visible. A failure that passes is only noted. */
async function repeat(work, signal) {
  await work();
  let failing = false, busy = false, timer = null;
  const again = async () => {
    if (busy || signal.aborted || document.hidden || interval() === "0") return;
    busy = true;
    try {
      await work();
      failing = false;
    } catch (problem) {
      if (!failing && !signal.aborted) notify(`Not refreshed: ${problem.message}`, "error");
      failing = true;
    }
    busy = false;
  };
  const pace = () => {
    clearInterval(timer);
    if (interval() !== "0" && !signal.aborted) timer = setInterval(again, interval() * 1000);
  };
  pace();
  document.addEventListener("visibilitychange", again, { signal });
  addEventListener(INTERVAL, () => { pace(); again(); }, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
}

/**
 * Follow an event stream; when it ends, begin again, unless `onEvent` has returned true. Throws the gateway's problem
 * if there is no such stream any longer.
 */
async function follow(path, onEvent, signal) {
  for (let failing = false; !signal.aborted;) {
    try {
      if (await client.events(path, onEvent, signal)) return;
      failing = false;
    } catch (problem) {
      if (signal.aborted) return;
      if (OVER.includes(problem.status)) throw problem;
      if (!failing) notify(`Not refreshed: ${problem.message}`, "error");
      failing = true;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

client.onSignedOut = () => {
  client.signOut();
  signIn("The key is not valid any longer.");
};
addEventListener("hashchange", route);
addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof Problem) notify(event.reason.message, "error");
});
enter(client.key !== null);
