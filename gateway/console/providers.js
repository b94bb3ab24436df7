/** The providers: whose fault a failure is, how busy each class of work is, and the last hour as charts. */

import { callsChart, linesChart } from "./chart.js";
import { el, foreign, show } from "./dom.js";
import { age, latency, plural } from "./format.js";
import { badge, facts, table } from "./ui.js";

const CLASSES = ["read", "create", "start", "release"];

export async function open({ client, main, every, signal }) {
  const cards = el("div", { class: "cards" });
  show(main, el("h1", {}, "Providers"), cards);
  await every(async () => {
    const { items } = await client.get("providers", {}, { signal });
    const hours = await Promise.all(items.map(({ name }) => client.get(`providers/${name}/history`, {}, { signal })));
    show(cards, items.map((provider, index) => card(provider, hours[index].items)));
  });
}

function card(provider, minutes) {
  const { health } = provider;
  return el("section", { class: "card", "data-key": provider.name, "aria-label": provider.name },
    el("h2", {}, foreign(provider.name), " ", badge(health.status)),
    el("p", { class: "small" }, verdict(provider)),
    facts({ API: provider.api, Scope: provider.scope ?? "open", Kinds: provider.kinds.join(", "), "Last success": health.last_success_at && `${age(health.last_success_at)} ago`,
      "Last failure": health.last_failure_at && `${age(health.last_failure_at)} ago: ${health.last_failure_code ?? "unknown"}` }),
    charts(provider.name, minutes),
    load(provider));
}

/** Who has to act. */
function verdict({ health, policies }) {
  if (health.credentials_ok === false) return "It rejects the gateway's credentials: renew the token in the settings.";
  const open = CLASSES.filter((work) => policies[work]?.breaker !== undefined && policies[work].breaker !== "closed");
  if (open.length > 0) return `It failed so often that ${open.join(" and ")} calls are not sent for now. The fault is the provider's, or the way there.`;
  if (health.status === "failing") return "The last call failed at the provider, or on the way there.";
  return health.status === "ok" ? "It answers." : "It was not called yet.";
}

function charts(name, minutes) {
  const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);
  const counted = minutes.map(({ at, classes }) => {
    const each = Object.values(classes);
    const open = each.some(({ breaker }) => breaker !== "closed"), calls = sum(each.map((one) => one.calls));
    const failed = sum(each.flatMap(({ failures }) => Object.values(failures)));
    return { at, open, calls, failed, hover: `${plural(calls, "call")}, ${failed} failed${open ? ", breaker open" : ""}` };
  });
  const reads = minutes.map(({ at, classes: { read } }) => ({ at, p50: read?.p50 ?? null, p95: read?.p95 ?? null, hover: `p50 ${latency(read?.p50)}, p95 ${latency(read?.p95)}` }));
  const values = (key) => reads.map((minute) => minute[key]);
  const calls = sum(counted.map((minute) => minute.calls)), failed = sum(counted.map((minute) => minute.failed));
  return el("div", { class: "charts" },
    callsChart(counted, {
      label: name, title: "Calls per minute", summary: `${calls.toLocaleString()} in the last hour, ${failed.toLocaleString()} failed`,
      legend: [["good", "answered"], ["bad", "failed"], ...(counted.some(({ open }) => open) ? [["open", "breaker open"]] : [])],
    }),
    linesChart(reads, [{ className: "p95", values: values("p95") }, { className: "p50", values: values("p50") }], latency, {
      label: name, title: "Duration of reads", summary: `at most ${latency(Math.max(0, ...values("p95")) || null)}`,
      legend: [["p50", "p50: half take less"], ["p95", "p95: 95 % take less"]],
    }));
}

function load({ policies }) {
  const share = (now, most) => (most === null ? String(now) : `${now} of ${most}`);
  return table("Load now, by class of work", [
    { title: "Class", cell: ([work]) => work },
    { title: "In flight", className: "number", cell: ([, one]) => share(one.in_flight, one.max_in_flight) },
    { title: "Waiting", className: "number", cell: ([, one]) => share(one.waiting, one.max_waiting) },
    { title: "Breaker", cell: ([, one]) => badge(one.breaker) },
  ], CLASSES.filter((work) => policies[work]).map((work) => [work, policies[work]]));
}
