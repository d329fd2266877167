// The page: which conversation is open, and what its buttons do.

const at = (id) => document.getElementById(id);
const [box, scroller, messages, side] = ["text", "scroller", "messages", "side"].map(at);
const model = { name: "", context: 0 };
let chat;

/** What the buttons of messages do. */
const does = {
  edit(message) {
    does.typed(message, "edit", message.content);
    refresh(message);
    typeInto(views.get(message).editor.querySelector("textarea"));
  },
  typed(what, field, value) {
    what[field] = value;
    save(chat);
  },
  leave(message) {
    delete message.edit;
    save(chat);
    refresh(message);
    goOn();
  },
  save(message) {
    const text = message.edit;
    if (message.role === "assistant") return does.leave(Object.assign(message, { content: text }));
    if (running.has(chat.id) || !settingsAreValid()) return;
    delete message.edit;
    replaceFrom(message, [{ role: message.role, call: message.call, content: text }]);
  },
  again(message) {
    if (!running.has(chat.id) && settingsAreValid()) replaceFrom(message, []);
  },
  /** Whether calls of the last answer wait for their results. */
  waits: (message) => message === chat.messages.at(-1),
  results(message) {
    if (!settingsAreValid()) return;
    for (const call of message.calls) chat.messages.push({ role: "tool", call: call.id, content: call.result });
    respond();
  },
};

/** Puts others in place of a message and of all behind it, and has the model answer. It can be taken back. */
function replaceFrom(message, others) {
  const [replaced, before] = [chat, chat.messages];
  chat.messages = [...before.slice(0, before.indexOf(message)), ...others];
  respond();
  if (message.error && message === before.at(-1)) return;
  notify("The earlier turns were replaced.", "Undo", () => {
    running.get(replaced.id)?.abort();
    replaced.messages = before;
    save(replaced);
    open(replaced);
    goOn();
  });
}

function respond() {
  const asked = chat;
  hush();
  answer(asked, (message, stage) => onChange(asked, message, stage));
  goOn();
}

/** Shows what becomes of an answer. */
function onChange(asked, message, stage) {
  if (stage === "grows") return drawSoon(asked, message);
  if (stage === "begins") {
    message.open = true;
    save(asked);
    return open(asked);
  }
  delete message.open;
  save(asked);
  draw(asked, message);
  if (asked === chat) for (const shown of chat.messages) refresh(shown);
  showRunning();
  say(message.error ?? `${message.note ?? ""} The model says: ${message.content}`);
  if (message.status === 401) askForKey(() => asked === chat && chat.messages.includes(message) && does.again(message));
}

/** Answers that will be drawn, and when they were kept. */
const waiting = new Set();
const kept = new WeakMap();

/** Draws ten times a second and keeps what came once a second: each takes time for the whole text. */
function drawSoon(asked, message) {
  if (waiting.has(message)) return;
  waiting.add(message);
  setTimeout(() => {
    waiting.delete(message);
    if (!message.open) return;
    draw(asked, message);
    const now = performance.now();
    if (now - (kept.get(message) ?? 0) < 1000) return;
    kept.set(message, now);
    save(asked);
  }, 100);
}

/** Draws a growing message, and stays at the end of the conversation if that is what was seen. */
function draw(asked, message) {
  if (asked !== chat) return;
  const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  refresh(message);
  if (isAtEnd) scroller.scrollTop = scroller.scrollHeight;
}

function refresh(message) {
  update(message, running.has(chat.id) && message === chat.messages.at(-1), does, model.context);
}

/** Shows a conversation. */
function open(next) {
  chat = next;
  messages.replaceChildren(...chat.messages.map((message) => viewOf(message, does)));
  for (const message of chat.messages) refresh(message);
  at("empty").hidden = chat.messages.length > 0;
  if (box.value !== chat.draft) box.value = chat.draft;
  scroller.scrollTop = scroller.scrollHeight;
  showRunning();
  showChats();
}

function showRunning() {
  if (document.activeElement === at("stop")) goOn();
  at("stop").hidden = !running.has(chat.id);
  at("send").hidden = running.has(chat.id);
}

function showChats() {
  const sorted = [...chats.values()].sort((a, b) => b.changed - a.changed);
  const item = (each) => {
    const open = button(title(each), () => choose(each), { "aria-current": each === chat ? "true" : "false" });
    return make("li", {}, open, button("✕", () => remove(each), { "aria-label": `Delete ${title(each)}` }));
  };
  at("chats").replaceChildren(...sorted.map(item));
}

function choose(next) {
  unfold(false);
  open(next);
  goOn();
}

/** Gives the focus to what comes next: the button that had it may be gone. On glass a field would bring up the keyboard. */
function goOn() {
  if (isTouch()) scroller.focus();
  else typeInto(box);
}

function remove(gone) {
  running.get(gone.id)?.abort();
  forget(gone);
  if (gone === chat) open(latest());
  showChats();
  at("new").focus();
  notify(`“${title(gone)}” is deleted.`, "Undo", () => (chats.set(gone.id, gone), save(gone), open(gone)));
}

function latest() {
  const [first] = [...chats.values()].sort((a, b) => b.changed - a.changed);
  return first ?? newChat();
}

function save(saved) {
  // Deleted while its answer came.
  if (chats.get(saved.id) !== saved) return;
  if (!keep(saved)) notify("The browser keeps no more: this conversation will be gone when the page is closed.");
}

function send() {
  const text = box.value;
  if (!text.trim() || running.has(chat.id) || !settingsAreValid()) return;
  chat.messages.push({ role: "user", content: text });
  Object.assign(chat, { draft: "", changed: Date.now() });
  respond();
}

function unfold(isOpen = !side.classList.contains("open")) {
  side.classList.toggle("open", isOpen);
  at("menu").ariaExpanded = String(isOpen);
}
