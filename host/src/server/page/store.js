// What the browser keeps: each conversation under a name of its own, so that two tabs do not write over each other's.

const PREFIX = "nemotron.chat.";
const SETTINGS = { system: "", temperature: "", top_p: "", max_tokens: "", seed: "", tools: "" };

/** All conversations by their id. */
const chats = new Map();

/** A new conversation with the settings of another one. */
function newChat(settings = SETTINGS) {
  // `crypto.randomUUID` is not there on a page of plain http from another machine.
  const id = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  const chat = { id, changed: Date.now(), settings: { ...settings }, messages: [], draft: "" };
  chats.set(id, chat);
  return chat;
}

/** Reads what is kept; what another program or an older page wrote there and cannot be read is left alone. */
function readChats() {
  for (const name of keptNames()) readChat(name);
}

function keptNames() {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  } catch {
    return [];
  }
}

function readChat(name) {
  try {
    const chat = JSON.parse(localStorage.getItem(name));
    const isChat = Array.isArray(chat?.messages) && chat.messages.every((message) => typeof message?.content === "string");
    if (isChat && PREFIX + chat.id === name) chats.set(chat.id, { ...chat, settings: { ...SETTINGS, ...chat.settings } });
  } catch (error) {
    console.warn(`${name} cannot be read: ${error}`);
  }
}

/** Keeps a conversation, if there is anything in it; whether that could be done. */
function keep(chat) {
  const isEmpty = !chat.messages.length && !chat.draft && !chat.settings.system;
  try {
    if (isEmpty) localStorage.removeItem(PREFIX + chat.id);
    else localStorage.setItem(PREFIX + chat.id, JSON.stringify(chat));
    return true;
  } catch {
    return false;
  }
}

function forget(chat) {
  chats.delete(chat.id);
  try {
    localStorage.removeItem(PREFIX + chat.id);
  } catch {
    // Where nothing can be kept there is nothing to forget.
  }
}

/** The id of the conversation that is kept under a name, if it is one's name. */
function idOf(name) {
  return name?.startsWith(PREFIX) ? name.slice(PREFIX.length) : null;
}

function title(chat) {
  const first = chat.messages.find((message) => message.role === "user")?.content ?? chat.draft;
  return first.trim().split("\n")[0].slice(0, 60) || "New chat";
}
