// The gateway's API. A failure is a Problem with the text to show.
import { eventsOf } from "./events.js";

const TOKEN_REQUIRED = "This server requires a valid token. Paste yours under “Token”, then press Open.";

export class Problem extends Error {
  constructor(details) {
    const fields = (details.field_violations ?? []).map((each) => `${each.field}: ${each.description}`);
    super(details.status === 401 ? TOKEN_REQUIRED
      : [details.detail, ...fields.filter((field) => !details.detail.includes(field))].join("; "));
    this.details = details;
  }
}

/** The connection broke while an answer was sent. */
export class Broken extends Problem {
  constructor() {
    super({ detail: "The connection broke. Send it again: a finished answer is stored." });
  }
}

export class Api {
  constructor() {
    this.token = "";
  }

  async send(method, path, { body, raw, type = "application/json", signal, headers: more = {} } = {}) {
    const headers = { ...more };
    if (this.token) headers.authorization = `Bearer ${this.token}`;
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

  /** Yield the events of an answer. *header* names the one that has the request's id: Last-Event-ID joins a running answer. */
  async *chat(body, header, id, signal) {
    const response = await this.send("POST", "/v1/chat:stream", { body, signal, headers: { [header]: id } });
    try {
      yield* eventsOf(response);
    } catch (error) {
      throw error instanceof TypeError ? new Broken() : error;
    }
  }
}

/** Return the path of a user's data. */
export function ofUser(user, rest = "") {
  // Browsers leave them out of a path, percent-encoded too: https://url.spec.whatwg.org/#double-dot-path-segment
  if (user === "." || user === "..") throw new Problem({ detail: "A browser cannot name the users “.” and “..”. Use another user id." });
  try {
    return `/v1/users/${encodeURIComponent(user)}${rest}`;
  } catch {
    throw new Problem({ detail: "The user id has half of a character. Type it again." });
  }
}
