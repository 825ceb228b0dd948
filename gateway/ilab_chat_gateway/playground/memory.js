// Left and right of the chat: sessions, facts, memories and the prompt.
import { ofUser } from "./api.js";
import { byId, el, fill, short, when } from "./dom.js";

/** Show sessions and the conversations that they belong to. *open* opens a conversation. */
export async function showSessions({ api, user, attempt }, open) {
  await attempt(async () => {
    const { sessions } = await api.json("GET", ofUser(user(), "/sessions?page_size=50"));
    fill(byId("sessions"), sessions.map((session) => el("li", {},
      el("span", { class: "badge" }, short(session.state, "SESSION_STATE_")),
      el("small", {}, `${when(session.start_time)} ${session.conversation_id || "default"}`),
      session.summary ? el("details", {}, el("summary", {}, "Summary"), el("p", { class: "text" }, session.summary)) : null,
    )), "No session yet. Send a message to open one.");
    const names = [...new Set(["", ...sessions.map((session) => session.conversation_id)])];
    fill(byId("conversation-list"), names.map((name) => el("li", {},
      el("button", { type: "button", onclick: () => open(name) }, name || "default"))), "");
    byId("conversations").replaceChildren(...names.filter(Boolean).map((name) => el("option", { value: name })));
  });
}

/** Show the facts, each with what can be done to it. */
export async function showFacts(context) {
  const { api, user, attempt } = context;
  await attempt(async () => {
    const { facts } = await api.json("GET", ofUser(user(), "/facts?page_size=200"));
    fill(byId("facts"), facts.map((fact) => factItem(context, fact)),
      "No facts yet. Tell the chat something about yourself, such as “I love hiking.”");
  });
}

function factItem(context, fact) {
  const { api, user, attempt, say } = context;
  const path = ofUser(user(), `/observations/${fact.observation_id}`);
  const change = (method, body, done) => attempt(async () => {
    await api.send(method, path, body ? { body } : {});
    say(done);
    await showFacts(context);
  });
  const text = el("textarea", { rows: 2, "aria-label": `New text of ${fact.title}` });
  text.value = fact.content;
  const edit = el("details", {}, el("summary", {}, "Edit"), text, el("p", { class: "row" },
    el("button", { type: "button", onclick: () => change("PATCH", { content: text.value }, "Saved. The next prompt has the new text.") }, "Save")));
  return el("li", { "data-fact": fact.observation_id },
    el("span", { class: "badge" }, fact.type), fact.pinned ? el("span", { class: "badge" }, "pinned") : null,
    el("strong", {}, fact.title), el("p", { class: "text" }, fact.content),
    el("small", {}, when(fact.update_time)),
    edit,
    el("p", { class: "row" },
      el("button", { type: "button", onclick: () => change("PATCH", { pinned: !fact.pinned, update_mask: "pinned" }, fact.pinned ? "Unpinned." : "Pinned: it comes first in every prompt.") }, fact.pinned ? "Unpin" : "Pin"),
      el("button", { type: "button", class: "danger", onclick: () => change("DELETE", null, "Deleted.") }, "Delete")));
}

/** Show the memories of an answer or a preview, the turns of the conversation folded into one item. */
export function showMemories(context, memories) {
  const isTurn = (memory) => memory.source === "MEMORY_SOURCE_TURN";
  const turns = memories.filter(isTurn);
  const items = memories.filter((memory) => !isTurn(memory)).map((memory) => memoryItem(context, memory));
  if (turns.length) items.push(el("li", {},
    el("span", { class: "badge" }, "turn"),
    el("details", {},
      el("summary", {}, `${turns.length} earlier ${turns.length > 1 ? "turns" : "turn"} of this conversation`),
      el("ul", { class: "list" }, ...turns.map((memory) => memoryItem(context, memory))))));
  fill(byId("memories"), items, "No memory entered the prompt. Send a message, or preview the prompt.");
}

/** Return an item for a memory. Its full text is fetched on the first click. */
function memoryItem({ api, user, attempt }, memory) {
  const full = el("p", { class: "text" });
  const load = () => attempt(async () => {
    if (full.textContent) return;
    const { observation } = await api.json("GET", ofUser(user(), `/observations/${memory.observation_id}`));
    full.textContent = observation.content;
  });
  // Neither a turn nor a repeated answer comes with the text.
  return el("li", {},
    el("span", { class: "badge" }, short(memory.source, "MEMORY_SOURCE_")),
    el("span", { class: "badge" }, memory.type),
    memory.score ? el("span", { class: "badge" }, `score ${memory.score.toFixed(2)}`) : null,
    memory.earlier ? el("span", { class: "badge" }, "earlier") : null,
    el("p", { class: "text" }, memory.snippet || memory.title),
    el("small", {}, when(memory.update_time)),
    memory.observation_id === "0" ? null
      : el("details", { ontoggle: load }, el("summary", {}, "Full text"), full));
}

const SECTIONS = ["instructions", "facts", "summaries", "conversation", "search", "context", "message", "total", "budget"];

/** Show a prompt: the estimated tokens by section, and each message. */
export function showPrompt(preview) {
  if (!preview) return fill(byId("prompt"), [], "“Preview the prompt” shows what the model would get for the message.");
  const rows = SECTIONS.map((name) => el("tr", {}, el("td", {}, name), el("td", {}, String(preview.tokens[name]))));
  fill(byId("prompt"), [
    el("table", {}, el("caption", { class: "note" }, "Estimated tokens by section"), el("tbody", {}, ...rows)),
    ...preview.messages.map((message) => el("details", {},
      el("summary", {}, short(message.role, "PROMPT_ROLE_")), el("pre", { tabindex: "0" }, message.content))),
  ], "");
}
