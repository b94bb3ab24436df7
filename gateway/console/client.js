/**
 * A client of the gateway's API, with the caller's key. The key is in memory, or in this tab's storage if the caller
 * wants that; it is sent to the gateway that served this page and to no other server.
 */

import { setClock } from "./format.js";

const STORED = "rtgw-key";

/** An error of the gateway, or of the way to it. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title ?? `The gateway answered ${status}.`);
    this.status = status;
    this.code = document.code ?? "";
    this.document = document;
  }
}

export class Client {
  constructor() {
    this.base = new URL("v1/", new URL(".", document.baseURI));
    this.key = sessionStorage.getItem(STORED);
    this.onSignedOut = () => {};
  }

  signIn(key, keep) {
    this.key = key;
    if (keep) sessionStorage.setItem(STORED, key);
  }

  signOut() {
    this.key = null;
    sessionStorage.removeItem(STORED);
  }

  get(path, query = {}, options = {}) {
    return this.call("GET", path, undefined, { query, ...options });
  }

  async call(method, path, body, { query = {}, signal, headers = {} } = {}) {
    const response = await this._fetch(method, path, body, query, signal, headers);
    if (response.status === 204) return null;
    return Object.assign(await response.json(), { [ETAG]: response.headers.get("ETag") });
  }

  /** Call `onEvent(name, data)` for each event of a stream, until it ends, is aborted, or `onEvent` returns true: so does this. */
  async events(path, onEvent, signal) {
    const response = await this._fetch("GET", path, undefined, {}, signal, {});
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let unread = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      const blocks = (unread + value).split("\n\n");
      unread = blocks.pop();
      for (const block of blocks) {
        const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s));
        const data = fields.filter(([name]) => name === "data").map(([, text]) => text).join("\n");
        const name = fields.find(([field]) => field === "event")?.[1] ?? "message";
        if (data && onEvent(name, JSON.parse(data))) {
          await reader.cancel();
          return true;
        }
      }
    }
  }

  async _fetch(method, path, body, query, signal, headers) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query)) {
      for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) url.searchParams.append(name, one);
    }
    const sent = { Accept: "application/json", ...headers };
    if (this.key) sent.Authorization = `Bearer ${this.key}`;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(url, {
        method, headers: sent, signal, body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store", credentials: "omit", redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { detail: "The gateway cannot be reached.", code: "unreachable" });
    }
    setClock(response.headers.get("Date"));
    if (response.ok) return response;
    if (response.status === 401 && this.key) this.onSignedOut();
    throw new Problem(response.status, await response.json().catch(() => ({})));
  }
}

/** The entity tag of a response, beside the members of its document. */
export const ETAG = Symbol("etag");

export const runtimePath = (id, ...below) => ["runtimes", id, ...below].map(encodeURIComponent).join("/");
