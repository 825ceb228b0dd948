// The page: who, the chat, and why this answer.
import { Api, Broken, Problem, ofUser } from "./api.js";
import { badge, byId, el, fill, textOf, when } from "./dom.js";
import { showFacts, showMemories, showPrompt, showSessions } from "./memory.js";

const api = new Api();
const TOKEN = "ilab-chat-token";
const USERS = "ilab-chat-users";
const RESUMES = 5;
const NO_PROMPT = "“Preview the prompt” shows what the model would get for the message.";
let opened = { user: "", conversation: "" };
/** Counts what was opened. What was asked for before is not shown any more. */
let view = 0;
let running = null;

const user = () => opened.user;
const conversation = () => opened.conversation;
const context = { ask, attempt, load, say, conversation };

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

/** Call a route of the user who is open. Throws an AbortError if another one was opened before the answer came. */
async function ask(method, rest, options) {
  const asked = view;
  const stale = () => new DOMException("Another user or conversation was opened.", "AbortError");
  let answer;
  try {
    answer = await (await api.send(method, ofUser(user(), rest), options)).json();
  } catch (error) {
    throw asked === view ? error : stale();
  }
  if (asked !== view) throw stale();
  return answer;
}

/** Return the text to show for a failure. */
function reasonOf(error) {
  if (error instanceof Problem) return error.message;
  console.error(error);
  return "Something went wrong in this page. The console has the details.";
}

/** Run an action, and show why it failed. */
async function attempt(action) {
  await load(null, action);
}

/** Run an action that fills a list; if it fails, the list does not keep what it had. */
async function load(list, action) {
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    const reason = reasonOf(error);
    say(reason, true);
    if (list) fill(list, [], "Not loaded.");
  }
}

const bodyOf = (message) => ({
  user_id: user(), message, conversation_id: conversation(),
  time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
});

/** Return an id for a request. `randomUUID` exists only on pages that came by HTTPS or from this machine. */
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function bubble(who, text = "") {
  const shown = textOf(text);
  const note = el("p", { class: "note" });
  const reasoning = el("details", { hidden: true }, el("summary", {}, "Reasoning"), textOf(""));
  const element = el("article", { class: `turn ${who}`, "aria-label": who === "user" ? "You" : "Assistant" }, reasoning, shown, note);
  return { element, shown, note, reasoning };
}

function add({ element }) {
  byId("log").querySelector(":scope > .start")?.remove();
  byId("log").append(element);
  element.scrollIntoView({ block: "end" });
}

/** Show why an answer says what it says, and mark the answer. */
function explain(why) {
  for (const each of byId("log").querySelectorAll(".explained")) each.classList.remove("explained");
  why.element?.classList.add("explained");
  byId("subject").textContent = why.subject;
  showMemories(context, why.memories, why.empty ?? "No memory entered the prompt of this answer.");
  showPrompt(why.prompt, why.prompt === undefined ? NO_PROMPT : "The prompt of this answer is not known.");
}

/** Count seconds in an element until the returned function is called. */
function clock(element, text) {
  const begun = performance.now();
  const show = () => { element.textContent = `${text} ${Math.round((performance.now() - begun) / 1000)} s`; };
  element.textContent = text;
  const timer = setInterval(show, 1000);
  return () => clearInterval(timer);
}

/** Send a message, or send it again with the id and the prompt of the earlier request to get its stored answer. */
async function chat(message, { id = newId(), prompt } = {}) {
  const asked = view;
  const answer = bubble("assistant");
  add(answer);
  const leaving = new AbortController();
  running = leaving;
  buttons();
  say("Asking the model…");
  const stopClock = clock(answer.note, "Waiting for the first word…");
  try {
    // What the model is about to get. Nothing depends on it, so a failure is left to the chat call.
    prompt ??= await ask("POST", "/preview", { body: { ...bodyOf(message), user_id: "" }, signal: leaving.signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      return null;
    });
    await receive(answer, { message, id, prompt, signal: leaving.signal, stopClock });
    say("");
  } catch (error) {
    stopClock();
    if (asked !== view) return;
    if (error.name === "AbortError") {
      answer.note.textContent = "stopped";
      say(answer.shown.textContent ? "Stopped. The part that was written is remembered." : "Stopped.");
      return;
    }
    const reason = reasonOf(error);
    say(reason, true);
    answer.note.replaceChildren(el("span", { class: "bad", dir: "auto" }, `failed: ${reason}`), " ",
      el("button", { type: "button", onclick: () => again(message, { id, prompt }) }, "Send again"));
    answer.element.scrollIntoView({ block: "end" });
  } finally {
    stopClock();
    if (running === leaving) running = null;
    buttons();
    if (asked === view) await Promise.all([showFacts(context), showSessions(context, open)]);
  }
}

function again(message, request) {
  if (running) return say("Wait for the answer that is being written, or stop it.", true);
  return chat(message, request);
}

/** Receive the events of an answer. A broken connection is taken up where the answer is by then. */
async function receive(answer, request) {
  const begun = performance.now();
  let first = null;
  for (let broken = 0; ; broken += 1) {
    try {
      for await (const { event, data } of api.chat(bodyOf(request.message), broken ? "last-event-id" : "idempotency-key", request.id, request.signal)) {
        if (event === "started") {
          // The answer comes from its start, also when it is taken up.
          answer.shown.textContent = answer.reasoning.lastChild.textContent = "";
          explain({ subject: `For “${request.message}”`, memories: data.memories, prompt: request.prompt, element: answer.element });
        } else if (event === "reasoning_delta") {
          answer.reasoning.hidden = false;
          answer.reasoning.lastChild.textContent += data.text;
        } else if (event === "text_delta") {
          if (first === null) request.stopClock();
          if (first === null) answer.note.textContent = "";
          first ??= performance.now() - begun;
          answer.shown.textContent += data.text;
          if (nearEnd()) answer.element.scrollIntoView({ block: "end" });
        } else if (event === "completed") {
          request.stopClock();
          return finish(answer, data, request, first ?? 0, performance.now() - begun);
        } else if (event === "problem") throw new Problem(data);
      }
      throw new Broken();
    } catch (error) {
      // An error of the gateway's address after a broken connection is one more broken connection.
      if (!(error instanceof Broken || (broken && error.message.startsWith("The gateway"))) || broken === RESUMES) throw error;
      say("The connection broke. Taking up the answer again…", true);
      await new Promise((resolve) => { setTimeout(resolve, 500 * (broken + 1)); });
      if (request.signal.aborted) throw new DOMException("Stopped.", "AbortError");
    }
  }
}

/** Whether the end of the log is in view: a reader who has scrolled up stays there. */
function nearEnd() {
  const log = byId("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 160;
}

function finish(answer, done, { message, prompt }, first, total) {
  const why = { subject: `For “${message}”`, memories: done.memories, prompt, element: answer.element };
  explain(why);
  const facts = [done.model, `${(total / 1000).toFixed(1)} s, first text after ${(first / 1000).toFixed(1)} s`];
  if (done.usage) facts.push(`${done.usage.input_tokens} + ${done.usage.output_tokens} tokens`);
  answer.note.replaceChildren(
    done.replayed ? badge("replayed") : "",
    ...done.remembered.map((fact) => badge(`remembered: ${fact.content}`)),
    el("span", {}, facts.join(" · ")), " ",
    el("span", { class: "actions" },
      el("button", { type: "button", onclick: () => { explain(why); byId("why-title").focus(); } }, "Why?"), " ",
      el("button", { type: "button", title: "Send the same request again: the stored answer comes back", onclick: () => again(message, { id: done.request_id, prompt }) }, "Repeat")));
  answer.element.scrollIntoView({ block: "end" });
}

function buttons() {
  byId("send").disabled = running !== null;
  byId("stop").disabled = running === null;
}

/** Show a conversation of the user in the form: its stored turns, sessions and facts. */
async function open(name) {
  byId("conversation").value = name;
  view += 1;
  opened = { user: byId("user").value, conversation: name };
  byId("opened").textContent = `${opened.user} · ${name || "default"}`;
  running?.abort();
  running = null;
  buttons();
  // Nothing of another user may stay, whatever becomes of the requests.
  for (const list of ["log", "facts", "sessions", "conversation-list"]) byId(list).replaceChildren();
  byId("conversations").replaceChildren();
  byId("forget").value = "";
  explain({ subject: "", memories: [], empty: "Send a message. The memories that the model gets with it are shown here." });
  say("");
  await Promise.all([showHistory(), showFacts(context), showSessions(context, open)]);
}

/** Open what the form names, if it is not open. */
async function settle() {
  if (byId("user").value === user() && byId("conversation").value === conversation()) return;
  await openForm();
}

async function openForm() {
  api.token = byId("token").value.trim();
  store(TOKEN, api.token);
  rememberUser();
  const name = byId("conversation").value;
  // The conversation of the user before is not one of this user.
  await open(byId("user").value !== user() && name === conversation() ? "" : name);
}

const STORED = /^User: ([^]*?)\nAssistant: ([^]*)$/;

/** Return the elements of a stored turn. */
function storedTurn(observation) {
  const said = STORED.exec(observation.content);
  const time = el("small", {}, when(observation.create_time));
  if (!said) return [el("article", { class: "turn", "aria-label": "Stored turn" }, textOf(observation.content), time)];
  return [
    el("article", { class: "turn user", "aria-label": "You" }, textOf(said[1])),
    el("article", { class: "turn assistant", "aria-label": "Assistant" }, textOf(said[2]), time),
  ];
}

async function showHistory() {
  const log = byId("log");
  async function earlier(token) {
    const query = new URLSearchParams({ types: "discovery", page_size: "20", conversation_id: conversation(), page_token: token });
    const { observations, next_page_token: next } = await ask("GET", `/observations?${query}`);
    const turns = observations.reverse().flatMap(storedTurn);
    const height = log.scrollHeight;
    log.querySelector(":scope > .more")?.remove();
    // Turns that were sent while the history was on its way stay, after it.
    log.prepend(...turns);
    if (next) log.prepend(el("p", { class: "more" }, el("button", { type: "button", onclick: () => attempt(() => earlier(next)) }, "Show earlier turns")));
    if (!log.querySelector(".turn")) log.replaceChildren(start());
    log.scrollTop = token ? log.scrollTop + log.scrollHeight - height : log.scrollHeight;
    if (token) log.focus();
  }
  await load(null, () => earlier(""));
}

/** Return what to do in an empty conversation. */
function start() {
  const example = (text) => el("button", { type: "button", dir: "auto", onclick: () => {
    byId("message").value = text;
    byId("message").focus();
  } }, text);
  return el("div", { class: "start" },
    el("p", {}, el("strong", {}, "Nothing said yet."), " Find out what a chat with a memory does:"),
    el("ol", {},
      el("li", {}, "Introduce yourself: ", example("Hi, my name is Alice and I love hiking.")),
      el("li", {}, "Press “New conversation” on the left, so that nothing is left of this one, and ask: ", example("What do I love?")),
      el("li", {}, "See on the right which memories the model got, and correct or delete what is remembered.")));
}

/** Keep a text in this tab. Without storage, which a browser can forbid, the page works too. */
function store(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch { /* It is forgotten when the page is loaded again. */ }
}

function stored(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function rememberUser() {
  let users = [];
  try {
    users = JSON.parse(stored(USERS) || "[]");
  } catch { /* Not from this page. */ }
  users = [...new Set([byId("user").value, ...users])].slice(0, 20);
  store(USERS, JSON.stringify(users));
  byId("users").replaceChildren(...users.map((name) => el("option", { value: name })));
}

byId("who-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(openForm);
});
byId("new").addEventListener("click", () => attempt(async () => {
  const names = [...byId("conversations").children].map((option) => option.value);
  let number = 2;
  while (names.includes(`chat-${number}`)) number += 1;
  byId("message").focus();
  await open(`chat-${number}`);
}));
byId("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const message = byId("message").value;
    if (!message.trim()) return;
    if (running) return say("Wait for the answer that is being written, or stop it.", true);
    await settle();
    byId("message").value = "";
    add(bubble("user", message));
    await chat(message);
  });
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
  await settle();
  const prompt = await ask("POST", "/preview", { body: { ...bodyOf(message), user_id: "" } });
  explain({ subject: `Preview for “${message}”`, memories: prompt.memories, prompt, empty: "No memory would enter the prompt." });
  say("This is what the model would get. Nothing was sent to it.");
}));
byId("export").addEventListener("click", () => attempt(async () => {
  const url = URL.createObjectURL(await (await api.send("GET", ofUser(user(), "/export"))).blob());
  el("a", { href: url, download: "export.jsonl" }).click();
  URL.revokeObjectURL(url);
}));
byId("import").addEventListener("change", () => attempt(async () => {
  const [file] = byId("import").files;
  if (!file) return;
  byId("import").value = "";
  const added = await ask("POST", "/import", { raw: file, type: "application/x-ndjson" });
  await open(conversation());
  say(`Imported ${added.sessions} sessions and ${added.observations} observations.`);
}));
byId("forget-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    if (byId("forget").value !== user()) return say("Type the user id exactly to erase everything about this user.", true);
    const { observations } = await ask("DELETE", "");
    await open("");
    say(`Erased ${observations} observations.`);
  });
});

// In a narrow window they are folded, so that the chat comes into view sooner.
byId("unfold").addEventListener("click", () => {
  const folded = byId("unfold").getAttribute("aria-expanded") === "false";
  byId("unfold").setAttribute("aria-expanded", String(folded));
});
byId("token").value = api.token = stored(TOKEN);
rememberUser();
buttons();
attempt(() => open(""));
