// Creates and lists a runtime with the types that openapi-typescript has generated; prints what the API returned.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

const [url, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

const least: components["schemas"]["CreateDurable"] = { kind: "durable", name: "from-typescript" };
const made = await client.POST("/v1/runtimes", { body: least });
if (made.data === undefined) throw new Error(made.error.detail);
const id: string = made.data.id;

const page = await client.GET("/v1/runtimes", { params: { query: { limit: 10 } } });
if (page.data === undefined) throw new Error(page.error.detail);
const listed = page.data.items.find((item) => item.id === id);
if (listed === undefined) throw new Error("the list does not have what was created");

const wrong = await client.POST("/v1/runtimes", { body: { kind: "browser", provider: "nowhere" } });
const code: string | undefined = wrong.error?.code;

console.log(
  JSON.stringify({
    created: "created" in made.data && made.data.created,
    name: listed.name,
    state: listed.state,
    year: listed.created_at === null ? null : new Date(listed.created_at).getFullYear(),
    pause: listed.actions?.["pause"]?.allowed,
    code,
  }),
);
