// Server-sent events over fetch: EventSource can neither POST nor send credentials.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

/** Return a parser: feed it text, and it returns the events that are complete, with comments left out. */
export function eventParser() {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    return blocks.map(parseBlock).filter((event) => event !== null);
  };
}

function parseBlock(block) {
  const event = { event: "message", id: "", data: [] };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") event.data.push(value);
    else if (name === "event" || name === "id") event[name] = value;
  }
  return event.data.length ? { event: event.event, id: event.id, data: JSON.parse(event.data.join("\n")) } : null;
}

/** Yield the events of a response. */
export async function* eventsOf(response) {
  const parse = eventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parse(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
