// One message on the page: built once, and brought up to date while its answer grows.

const NAMES = { user: "You", assistant: "Model", tool: "Result of a function" };

/** What shows each message that is on the page. */
const views = new WeakMap();

/** The node of a message. `does` has what its buttons do, each with the message. */
function viewOf(message, does) {
  const view = {
    thought: make("details", { className: "thought", hidden: true }, make("summary"), make("div", { dir: "auto" })),
    text: make("div", { className: message.role === "assistant" ? "text" : "text plain", dir: "auto" }),
    calls: make("div"),
    note: make("p", { className: "note" }),
    meter: make("p", { className: "meter" }),
    buttons: make("div", { className: "buttons" }, buttonsOf(message, does)),
  };
  const heading = make("h2", {}, NAMES[message.role] ?? message.role);
  view.node = make("article", { className: message.role }, heading, Object.values(view));
  views.set(message, view);
  return view.node;
}

function buttonsOf(message, does) {
  const buttons = [copyButton(() => message.content, "message"), button("Edit", () => does.edit(message))];
  if (message.role === "assistant") buttons.push(button("Try again", () => does.again(message)));
  return buttons;
}

/** Shows what a message says now. */
function update(message, isRunning, does, context) {
  const view = views.get(message);
  if (!view) return;
  view.node.ariaBusy = String(isRunning);
  if (message.role === "assistant") render(view.text, message.content);
  else view.text.textContent = message.content;
  showThought(view.thought, message, isRunning);
  showNote(view.note, message, isRunning);
  view.meter.textContent = meter(message, context);
  view.meter.hidden = !view.meter.textContent;
  view.buttons.hidden = isRunning || message.edit !== undefined;
  view.text.hidden = message.edit !== undefined;
  showEditor(view, message, does);
  showCalls(view.calls, message, isRunning, does);
}

function showThought(node, { reasoning, content, thoughtFor = 0 }, isRunning) {
  const [summary, text] = node.children;
  node.hidden = !reasoning;
  summary.textContent = isRunning && !content ? "Reasoning …" : `Reasoning, ${thoughtFor.toFixed(1)} s`;
  // Only an open one is written: a long thought would cost time with each token.
  const write = () => node.open && (text.textContent = reasoning);
  node.ontoggle = write;
  write();
}

function showNote(node, message, isRunning) {
  const left = message.open && !isRunning ? "The page was left before this answer ended." : "";
  const isEmpty = message.role === "assistant" && !isRunning && !message.content && !message.calls && !message.error;
  node.textContent = message.error || message.note || left || (isEmpty ? "The answer is empty." : "");
  node.hidden = !node.textContent;
  node.classList.toggle("trouble", Boolean(message.error));
}

/** A field in place of the text while a message is edited. What is typed is part of the message, so a reload keeps it. */
function showEditor(view, message, does) {
  if (message.edit === undefined) view.editor = view.editor?.remove();
  if (message.edit === undefined || view.editor) return;
  const area = make("textarea", { rows: 4, value: message.edit, "aria-label": "Edit the message" });
  area.oninput = () => does.typed(message, "edit", area.value);
  area.onkeydown = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    does.leave(message);
  };
  const save = button(message.role === "assistant" ? "Save" : "Save and send", () => does.save(message));
  view.editor = make("div", { className: "editor" }, area, make("div", { className: "buttons" }, save, button("Cancel", () => does.leave(message))));
  view.text.after(view.editor);
}

/** The calls of an answer, and fields for what comes back of them where nothing has come yet. */
function showCalls(node, message, isRunning, does) {
  const isOpen = !isRunning && does.waits(message);
  const state = JSON.stringify([message.calls?.map(({ name, arguments: text }) => [name, text]), isOpen]);
  if (!message.calls || node.dataset.state === state) return;
  node.dataset.state = state;
  node.replaceChildren(...message.calls.map((call) => callNode(call, isOpen, does)));
  if (isOpen) node.append(button("Send results", () => does.results(message)));
}

function callNode(call, isOpen, does) {
  const caption = make("figcaption", {}, make("span", {}, "calls ", make("code", {}, call.name)));
  const code = make("pre", { tabIndex: 0 }, make("code", {}, indented(call.arguments)));
  const node = make("figure", {}, caption, code);
  if (isOpen) {
    const area = make("textarea", { rows: 2, value: call.result });
    area.oninput = () => does.typed(call, "result", area.value);
    node.append(make("label", {}, `What ${call.name} returns `, area));
  }
  return node;
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
