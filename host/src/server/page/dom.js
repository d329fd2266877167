// Nodes of the document. Text becomes text nodes and attributes are named here: no markup is ever parsed.

/** An element with these properties or attributes, and children: nodes, texts, or lists of them. */
function make(name, fields = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(fields)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  // One by one: a call with hundreds of thousands of arguments would overflow the stack.
  for (const child of children.flat()) node.append(child);
  return node;
}

function button(label, onclick, fields = {}) {
  return make("button", { type: "button", onclick, ...fields }, label);
}

const isTouch = () => matchMedia("(pointer: coarse)").matches;

/** Puts the caret at the end of a field. */
function typeInto(field) {
  // After a click elsewhere Chromium may give a field the focus without a caret: nothing could be typed.
  field.blur();
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

/** A button that copies what `text` gives. */
function copyButton(text, what) {
  const node = button("Copy", async () => {
    node.textContent = (await copy(text())) ? "Copied" : "Not copied";
    setTimeout(() => (node.textContent = "Copy"), 1500);
  }, { "aria-label": `Copy ${what}` });
  return node;
}

async function copy(text) {
  // Browsers lend the clipboard only to pages of https or of this machine.
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = make("textarea", { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
