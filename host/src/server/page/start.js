// What is typed and pressed, notices and dialogs, and the first look at the server.

/** Tells something for which there may be a remedy. */
function notify(text, label = "", action = null) {
  const notice = at("notice");
  const [words, remedy] = notice.children;
  words.textContent = text;
  Object.assign(remedy, { textContent: label, hidden: !action, onclick: () => (hush(), action()) });
  notice.hidden = false;
}

function hush() {
  at("notice").hidden = true;
}

/** Has a screen reader say something: an answer is said when it is whole, not token by token. */
function say(text) {
  at("said").textContent = text;
}

/** Whether the settings can be sent; else they are shown with what is wrong. */
function settingsAreValid() {
  const form = at("settings").querySelector("form");
  fillSettings(form);
  if (form.checkValidity()) return true;
  at("settings").showModal();
  form.reportValidity();
  return false;
}

function fillSettings(form) {
  for (const [name, value] of Object.entries(chat.settings)) {
    // A field with something that is no number has the value "": it is left alone, so that it is found wrong.
    const field = form.elements[name];
    if (field && field.value !== value) field.value = value;
  }
  form.elements.tools.setCustomValidity(wrongWithTools(chat.settings.tools));
}

function wrongWithTools(text) {
  if (!text.trim()) return "";
  try {
    return Array.isArray(JSON.parse(text)) ? "" : "Expected a JSON list.";
  } catch (error) {
    return `This is no JSON: ${error.message}`;
  }
}

let afterKey = null;
/** Asks for a key and then does what could not be done without it. */
function askForKey(then) {
  afterKey = then ?? afterKey;
  if (!at("key").open) at("key").showModal();
}

at("key").onclose = () => {
  const field = at("key").querySelector("input");
  if (at("key").returnValue === "use" && field.value) {
    useKey(field.value.trim());
    look();
    const then = afterKey;
    afterKey = null;
    then?.();
  }
  field.value = at("key").returnValue = "";
  typeInto(box);
};

/** Asks what model there is, until the server can tell. */
async function look() {
  try {
    Object.assign(model, await askModel());
    at("model").textContent = `${model.name}, ${model.context} tokens of context`;
    document.title = `${model.name} · nemotron`;
  } catch (error) {
    at("model").textContent = error.message;
    if (error.status === 401) askForKey(null);
    else setTimeout(look, 2000);
  }
}

at("composer").onsubmit = (event) => (event.preventDefault(), send());
at("stop").onclick = () => running.get(chat.id)?.abort();
at("new").onclick = () => {
  const empty = [...chats.values()].find((each) => !each.messages.length && !each.draft);
  choose(empty ? Object.assign(empty, { settings: { ...chat.settings }, changed: Date.now() }) : newChat(chat.settings));
};
at("menu").onclick = () => unfold();
at("settings-open").onclick = () => {
  fillSettings(at("settings").querySelector("form"));
  at("settings").showModal();
};
at("settings").oninput = ({ target }) => {
  chat.settings[target.name] = target.value;
  if (target.name === "tools") target.setCustomValidity(wrongWithTools(target.value));
  save(chat);
};

box.oninput = () => {
  chat.draft = box.value;
  save(chat);
};
box.onkeydown = (event) => {
  // Enter also ends a word of an input method, and fingers on glass have no Shift to hold.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || isTouch()) return;
  event.preventDefault();
  send();
};
document.onkeydown = (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  running.get(chat.id)?.abort();
  unfold(false);
};

onstorage = ({ key }) => {
  const id = idOf(key);
  // An answer that comes here is newer than what another tab has of its conversation.
  if (!id || running.has(id)) return;
  chats.delete(id);
  readChat(key);
  if (id === chat.id) open(chats.get(id) ?? latest());
  showChats();
};

// What came since an answer was last kept.
onpagehide = () => save(chat);

readChats();
open(latest());
look();
typeInto(box);
