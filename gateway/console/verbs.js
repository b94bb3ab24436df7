/** What can be done with runtimes, and what is lost by it. */

import { runtimePath } from "./client.js";
import { el, foreign, notify } from "./dom.js";
import { capital, nameOf, plural } from "./format.js";
import { ask } from "./ui.js";

export const VERBS = ["start", "resume", "pause", "stop", "reset", "delete"];
const AT_ONCE = 4;

const LOST = {
  stop: "The instance ends: its files, sessions and logins are gone.",
  reset: "The instance is thrown away: its files, sessions and logins are gone.",
  delete: "The runtime is deleted. It does not come back.",
};

/** Whether a verb can be tried now, also if it then needs a word that state may be thrown away. */
export function possible(runtime, verb) {
  const action = runtime.actions?.[verb];
  return Boolean(action) && (action.allowed || Boolean(action.requires?.discard_state));
}

function discards(runtime, verb) {
  const action = runtime.actions?.[verb] ?? {};
  return Boolean(action.discards_state || action.requires?.discard_state) || verb === "reset" || verb === "delete";
}

function send(client, runtime, verb) {
  if (verb === "delete") return client.call("DELETE", runtimePath(runtime.id));
  const body = runtime.actions[verb].requires?.discard_state ? { discard_state: true } : {};
  return client.call("POST", runtimePath(runtime.id, verb), body);
}

/** Carry out a verb on runtimes, after asking where something ends or is lost. Returns whether anything was sent. */
export async function act(client, verb, runtimes, onProgress = () => {}) {
  const losing = runtimes.filter((runtime) => discards(runtime, verb));
  if (verb === "stop" || losing.length > 0) {
    const shown = runtimes.slice(0, 8).map((runtime) => el("li", {}, foreign(nameOf(runtime)), runtime.provider && ` at ${runtime.provider}`));
    const rest = runtimes.length > 8 && el("li", {}, `and ${plural(runtimes.length - 8, "other")}`);
    const lost = losing.length > 0 ? [`${losing.length} of ${runtimes.length}: ${LOST[verb]}`] : [];
    const title = `${capital(verb)} ${plural(runtimes.length, "runtime")}?`;
    const text = losing.length > 0 ? "" : "Their compute ends; their state is kept.";
    if (!(await ask({ title, text, lost, content: el("ul", {}, shown, rest), action: capital(verb) }))) return false;
  }
  const waiting = [...runtimes];
  const failed = [];
  let done = 0;
  const worker = async () => {
    for (let runtime = waiting.shift(); runtime; runtime = waiting.shift()) {
      await send(client, runtime, verb).catch((problem) => failed.push(`${nameOf(runtime)}: ${problem.message}`));
      onProgress(++done, runtimes.length);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  for (const text of failed.slice(0, 5)) notify(text, "error");
  const good = runtimes.length - failed.length;
  notify(`${verb}: ${good} of ${plural(runtimes.length, "runtime")} done.`, failed.length > 0 ? "error" : "info");
  return true;
}
