// The gateway's API. A failure is a Problem with the text to show.
import { eventsOf } from "./events.js";

export class Problem extends Error {
  constructor(details) {
    const fields = (details.field_violations ?? []).map((each) => `${each.field}: ${each.description}`);
    super([details.detail, ...fields.filter((field) => !details.detail.includes(field))].join("; "));
    this.details = details;
  }
}

export class Api {
  constructor() {
    this.token = "";
  }

  async send(method, path, { body, raw, type = "application/json", signal, id } = {}) {
    const headers = {};
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (id) headers["idempotency-key"] = id;
    if (body !== undefined || raw !== undefined) headers["content-type"] = type;
    const content = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    let response;
    try {
      response = await fetch(path, { method, headers, body: content, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({ detail: "The gateway does not answer. Is it running?" });
    }
    if (response.ok) return response;
    let details = null;
    try {
      details = await response.json();
    } catch { /* Not from the gateway. */ }
    throw new Problem(details?.detail ? details : { detail: `HTTP status ${response.status}` });
  }

  async json(method, path, options) {
    return (await this.send(method, path, options)).json();
  }

  async *chat(body, id, signal) {
    yield* eventsOf(await this.send("POST", "/v1/chat:stream", { body, id, signal }));
  }
}

/** Return the path of a user's data. */
export const ofUser = (user, rest = "") => `/v1/users/${encodeURIComponent(user)}${rest}`;
