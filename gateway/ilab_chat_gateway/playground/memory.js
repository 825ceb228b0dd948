// Left and right of the chat: sessions, facts, memories and the prompt.
import { badge, byId, el, fill, short, textOf, when } from "./dom.js";

/**
 * Show a list page by page. Its last item asks for the next page.
 *
 * @param list the element
 * @param load returns the page that a token names: its items, and the token of the next one
 * @param empty what to do when there are no items
 * @param shown called with all items so far
 */
export async function showPages({ load: loading }, list, load, toItem, empty, shown = () => {}) {
  const all = [];
  async function next(token) {
    const [items, nextToken] = await load(token);
    all.push(...items);
    const added = items.map(toItem);
    if (token) list.lastChild.remove();
    if (token) list.append(...added);
    else fill(list, added, empty);
    if (nextToken) list.append(el("li", { class: "more" },
      el("button", { type: "button", onclick: () => loading(null, () => next(nextToken)) }, `Show more than these ${all.length}`)));
    if (token) {
      // The button that had the focus is gone.
      added[0]?.setAttribute("tabindex", "-1");
      added[0]?.focus();
    }
    shown(all);
  }
  await loading(list, () => next(""));
}

/** Show sessions and the conversations that they belong to. *open* opens a conversation. */
export async function showSessions(context, open) {
  const page = async (token) => {
    const { sessions, next_page_token: next } = await context.ask("GET", `/sessions?page_size=50&page_token=${encodeURIComponent(token)}`);
    return [sessions, next];
  };
  await showPages(context, byId("sessions"), page, (session) => el("li", {},
    badge(short(session.state, "SESSION_STATE_")),
    el("small", {}, `${when(session.start_time)} · ${session.conversation_id || "default"}`),
    session.summary ? el("details", {}, el("summary", {}, "Summary"), textOf(session.summary)) : null,
  ), "No session yet. Send a message to open one.", (sessions) => {
    const names = [...new Set(["", context.conversation(), ...sessions.map((session) => session.conversation_id)])];
    fill(byId("conversation-list"), names.map((name) => el("li", {},
      el("button", { type: "button", "aria-current": name === context.conversation() ? "true" : null, onclick: () => open(name) }, name || "default"))), "");
    byId("conversations").replaceChildren(...names.filter(Boolean).map((name) => el("option", { value: name })));
  });
}

/** Show the facts, each with what can be done to it. */
export async function showFacts(context) {
  const page = async (token) => {
    const { facts, next_page_token: next } = await context.ask("GET", `/facts?page_size=50&page_token=${encodeURIComponent(token)}`);
    return [facts, next];
  };
  await showPages(context, byId("facts"), page, (fact) => factItem(context, fact),
    "No facts yet. Tell the chat something about yourself, such as “I love hiking.”");
}

function factItem(context, fact) {
  const { ask, attempt, say } = context;
  const change = (method, body, done) => attempt(async () => {
    await ask(method, `/observations/${fact.observation_id}`, body ? { body } : {});
    say(done);
    await showFacts(context);
    // The control that had the focus is gone.
    byId("facts-title").focus({ preventScroll: true });
  });
  const text = el("textarea", { rows: 2, dir: "auto", "aria-label": `New text of ${fact.title}` });
  text.value = fact.content;
  const edit = el("details", {}, el("summary", {}, "Edit"), text, el("p", { class: "row" },
    el("button", { type: "button", onclick: () => change("PATCH", { content: text.value }, "Saved. The next prompt has the new text.") }, "Save")));
  return el("li", { "data-fact": fact.observation_id },
    textOf(fact.content),
    el("p", { class: "note" }, badge(fact.type), fact.pinned ? badge("pinned") : null,
      el("span", { dir: "auto" }, fact.title), ` · ${when(fact.update_time)}`),
    edit,
    el("p", { class: "row" },
      el("button", { type: "button", onclick: () => change("PATCH", { pinned: !fact.pinned, update_mask: "pinned" }, fact.pinned ? "Unpinned." : "Pinned: it comes first in every prompt.") }, fact.pinned ? "Unpin" : "Pin"),
      el("button", { type: "button", class: "danger", onclick: () => change("DELETE", null, "Deleted.") }, "Delete")));
}

/** Show the memories of an answer or a preview, the turns of the conversation folded into one item. */
export function showMemories(context, memories, empty) {
  const isTurn = (memory) => memory.source === "MEMORY_SOURCE_TURN";
  const turns = memories.filter(isTurn);
  const items = memories.filter((memory) => !isTurn(memory)).map((memory) => memoryItem(context, memory));
  if (turns.length) items.push(el("li", {},
    badge("turn"),
    el("details", {},
      el("summary", {}, `${turns.length} earlier ${turns.length > 1 ? "turns" : "turn"} of this conversation`),
      el("ul", { class: "list" }, ...turns.map((memory) => memoryItem(context, memory))))));
  fill(byId("memories"), items, empty);
}

/** Return an item for a memory. Its full text is fetched on the first click. */
function memoryItem({ ask, load }, memory) {
  const full = textOf("");
  const show = () => load(null, async () => {
    if (full.textContent) return;
    const { observation } = await ask("GET", `/observations/${memory.observation_id}`);
    full.textContent = observation.content;
  });
  // Neither a turn nor a repeated answer comes with the text.
  return el("li", {},
    textOf(memory.snippet || memory.title),
    el("p", { class: "note" },
      badge(short(memory.source, "MEMORY_SOURCE_")), badge(memory.type),
      memory.score ? badge(`score ${memory.score.toFixed(2)}`) : null,
      memory.earlier ? badge("earlier") : null,
      when(memory.update_time)),
    memory.observation_id === "0" ? null
      : el("details", { ontoggle: show }, el("summary", {}, "Full text"), full));
}

const SECTIONS = ["instructions", "facts", "summaries", "conversation", "search", "context", "message"];

/** Show a prompt: the estimated tokens by section, and each message. *empty* is shown when there is none. */
export function showPrompt(preview, empty) {
  if (!preview) return fill(byId("prompt"), [], empty);
  const { tokens } = preview;
  const rows = SECTIONS.filter((name) => tokens[name]).map((name) => el("tr", {}, el("td", {}, name),
    el("td", {}, el("meter", { max: tokens.total, value: tokens[name], "aria-label": `Tokens of ${name}` })), el("td", {}, String(tokens[name]))));
  fill(byId("prompt"), [
    el("table", {}, el("caption", { class: "note" }, `Estimated tokens by section: ${tokens.total} of ${tokens.budget}`), el("tbody", {}, ...rows)),
    ...preview.messages.map((message) => el("details", {},
      el("summary", {}, short(message.role, "PROMPT_ROLE_")), el("pre", { tabindex: "0", dir: "auto" }, message.content))),
  ], "");
}
