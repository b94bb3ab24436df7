/**
 * A client of the gateway's API, with the caller's key. The key is in memory, or in this tab's storage if the caller
 * wants that; it is sent to the gateway that served this page and to no other server.
 */

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
    const document = await response.json().catch(() => ({}));
    if (response.ok) return Object.assign(document, { [ETAG]: response.headers.get("ETag") });
    if (response.status === 401 && this.key) this.onSignedOut();
    throw new Problem(response.status, document);
  }

  /** Call `onEvent(name, data)` for each event of a stream, until it ends or is aborted. */
  async events(path, onEvent, signal) {
    const response = await this._fetch("GET", path, undefined, {}, signal, {});
    if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let unread = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (unread + value).split("\n\n");
      unread = blocks.pop();
      for (const block of blocks) {
        const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s));
        const data = fields.filter(([name]) => name === "data").map(([, text]) => text).join("\n");
        if (data) onEvent(fields.find(([name]) => name === "event")?.[1] ?? "message", JSON.parse(data));
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
    try {
      return await fetch(url, {
        method, headers: sent, signal, body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store", credentials: "omit", redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { detail: "The gateway cannot be reached.", code: "unreachable" });
    }
  }
}

/** The entity tag of a response, beside the members of its document. */
export const ETAG = Symbol("etag");

export const runtimePath = (id, ...below) => ["runtimes", id, ...below].map(encodeURIComponent).join("/");
