// The page: who, the chat, and why this answer.
import { Api, Problem, ofUser } from "./api.js";
import { byId, el, fill, when } from "./dom.js";
import { showFacts, showMemories, showPrompt, showSessions } from "./memory.js";

const api = new Api();
const TOKEN = "ilab-chat-token";
const USERS = "ilab-chat-users";
let running = null;

const user = () => byId("user").value;
const conversation = () => byId("conversation").value;
const context = { api, user, attempt, say };

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

/** Run an action, and show why it failed. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    say(error instanceof Problem ? error.message : "Something went wrong in this page. The console has the details.", true);
    if (!(error instanceof Problem)) console.error(error);
  }
}

const body = (message) => ({
  user_id: user(), message, conversation_id: conversation(),
  time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
});

function turn(who, text = "") {
  const shown = el("p", { class: "text" }, text);
  const badges = el("p", { class: "note" });
  const reasoning = el("details", { hidden: true }, el("summary", {}, "Reasoning"), el("p", { class: "text" }));
  const element = el("article", { class: `turn ${who}`, "aria-label": who === "user" ? "You" : "Assistant" }, reasoning, shown, badges);
  byId("log").querySelector(":scope > .note")?.remove();
  byId("log").append(element);
  element.scrollIntoView({ block: "end" });
  return { element, shown, badges, reasoning };
}

/** Send a message, with the id of an earlier request to get its stored answer. */
async function chat(message, id) {
  const answer = turn("assistant");
  const leaving = new AbortController();
  running = leaving;
  buttons();
  say("Asking the model…");
  const begun = performance.now();
  let first = null;
  let ended = false;
  try {
    for await (const { event, data } of api.chat(body(message), id, leaving.signal)) {
      if (event === "started") showMemories(context, data.memories);
      else if (event === "reasoning_delta") {
        answer.reasoning.hidden = false;
        answer.reasoning.lastChild.textContent += data.text;
      } else if (event === "text_delta") {
        first ??= performance.now() - begun;
        answer.shown.textContent += data.text;
        answer.element.scrollIntoView({ block: "end" });
      } else if (event === "completed") {
        ended = true;
        finish(answer, data, message, first ?? 0, performance.now() - begun);
      } else if (event === "problem") throw new Problem(data);
    }
    if (!ended) throw new Problem({ detail: "The answer broke off. Send it again: a finished answer is stored." });
    say("");
  } catch (error) {
    const stopped = error.name === "AbortError";
    answer.badges.textContent = stopped ? "stopped" : "failed";
    if (stopped) say("Stopped. The part that was written is remembered.");
    else {
      answer.badges.append(" ", el("button", { type: "button", onclick: () => attempt(() => chat(message, id)) }, "Send again"));
      throw error;
    }
  } finally {
    running = null;
    buttons();
    await Promise.all([showFacts(context), showSessions(context, open)]);
  }
}

function finish(answer, done, message, first, total) {
  showMemories(context, done.memories);
  const badges = [`${done.model}`, `${(total / 1000).toFixed(1)} s, first text after ${(first / 1000).toFixed(1)} s`];
  if (done.usage) badges.push(`${done.usage.input_tokens} + ${done.usage.output_tokens} tokens`);
  answer.badges.replaceChildren(
    done.replayed ? el("span", { class: "badge" }, "replayed") : "",
    ...done.remembered.map((fact) => el("span", { class: "badge" }, `remembered: ${fact.content}`)),
    badges.join(" · "), " ",
    el("button", { type: "button", title: "Send the same request again: the stored answer comes back", onclick: () => attempt(() => chat(message, done.request_id)) }, "Repeat"));
}

function buttons() {
  byId("send").disabled = running !== null;
  byId("stop").disabled = running === null;
}

/** Show a conversation: its stored turns, sessions and facts. */
async function open(name) {
  byId("conversation").value = name;
  running?.abort();
  byId("log").replaceChildren();
  showMemories(context, []);
  showPrompt(null);
  say("");
  await Promise.all([showHistory(), showFacts(context), showSessions(context, open)]);
}

async function showHistory() {
  await attempt(async () => {
    const query = new URLSearchParams({ types: "discovery", page_size: "20", conversation_id: conversation() });
    const { observations } = await api.json("GET", ofUser(user(), `/observations?${query}`));
    // Turns that were sent while the history was on its way stay, after it.
    const said = byId("log").querySelectorAll(".turn.user, .turn.assistant");
    fill(byId("log"), [...observations.reverse().map((each) => el("article", { class: "turn", "aria-label": "Stored turn" },
      el("small", {}, `${when(each.create_time)} `), el("p", { class: "text" }, each.content))), ...said],
    "Nothing said yet. Introduce yourself, then ask what the chat knows about you.");
    byId("log").scrollTop = byId("log").scrollHeight;
  });
}

function rememberUser() {
  const users = new Set([user(), ...JSON.parse(sessionStorage.getItem(USERS) ?? "[]")]);
  sessionStorage.setItem(USERS, JSON.stringify([...users].slice(0, 20)));
  byId("users").replaceChildren(...[...users].map((name) => el("option", { value: name })));
}

byId("who-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.token = byId("token").value.trim();
  sessionStorage.setItem(TOKEN, api.token);
  rememberUser();
  attempt(() => open(conversation()));
});
byId("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = byId("message").value;
  if (running || !message.trim()) return;
  byId("message").value = "";
  turn("user", message);
  attempt(() => chat(message, crypto.randomUUID()));
});
byId("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("chat-form").requestSubmit();
  }
});
byId("stop").addEventListener("click", () => running?.abort());
byId("preview").addEventListener("click", () => attempt(async () => {
  const message = byId("message").value;
  if (!message.trim()) return say("Write a message first: the prompt depends on it.", true);
  const preview = await api.json("POST", ofUser(user(), "/preview"), { body: { ...body(message), user_id: "" } });
  showMemories(context, preview.memories);
  showPrompt(preview);
  say("This is what the model would get. Nothing was sent to it.");
}));
byId("export").addEventListener("click", () => attempt(async () => {
  const url = URL.createObjectURL(await (await api.send("GET", ofUser(user(), "/export"))).blob());
  el("a", { href: url, download: "export.jsonl" }).click();
  URL.revokeObjectURL(url);
}));
byId("import").addEventListener("change", () => attempt(async () => {
  const [file] = byId("import").files;
  const added = await api.json("POST", ofUser(user(), "/import"), { raw: file, type: "application/x-ndjson" });
  byId("import").value = "";
  await open(conversation());
  say(`Imported ${added.sessions} sessions and ${added.observations} observations.`);
}));
byId("forget-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    if (byId("forget").value !== user()) return say("Type the user id exactly to erase everything about this user.", true);
    const { observations } = await api.json("DELETE", ofUser(user()));
    byId("forget").value = "";
    await open("");
    say(`Erased ${observations} observations.`);
  });
});

byId("token").value = api.token = sessionStorage.getItem(TOKEN) ?? "";
rememberUser();
buttons();
attempt(() => open(""));
