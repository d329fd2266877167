// Markdown in blocks: each is found by its lines, and becomes one node.

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( {1,4}(?! )| |$)/;
const COLUMNS = /^ *\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$/;

/** The sources of the blocks that a node shows. */
const shown = new WeakMap();

/** Shows a text in a node. Blocks that stand there already stay: a stream adds at its end, and a selection is not lost. */
function render(node, text) {
  const found = blocks(text.split("\n").map(spaced), 0);
  const old = shown.get(node) ?? [];
  let same = 0;
  while (same < found.length && found[same].source === old[same]) same += 1;
  while (node.childNodes.length > same) node.lastChild.remove();
  for (const block of found.slice(same)) node.append(block.build());
  shown.set(node, found.map((block) => block.source));
}

/** A line whose first tabs are spaces. */
function spaced(line) {
  return line.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    "));
}

function blocks(lines, depth) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const { end, build } = block(lines, at, depth);
    found.push({ source: lines.slice(at, end).join("\n"), build });
    at = end;
  }
  return found;
}

/** The block that begins at a line: where it ends, and what makes its node. */
function block(lines, at, depth) {
  const nested = depth < DEEPEST ? quote(lines, at, depth) ?? list(lines, at, depth) : null;
  return fence(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? nested ?? table(lines, at) ?? paragraph(lines, at);
}

/** Whether a line ends the paragraph in front of it. */
function begins(line) {
  return [FENCE, HEADING, RULE, QUOTE].some((pattern) => pattern.test(line)) || /^ *([-*+]|1[.)]) /.test(line);
}

function fence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  const closes = (line) => /^ {0,3}(`+|~+) *$/.test(line) && line.trim().startsWith(open[1]);
  let end = at + 1;
  // One that is not closed yet reaches to the end.
  while (end < lines.length && !closes(lines[end])) end += 1;
  const build = () => codeBlock(open[2], lines.slice(at + 1, end).join("\n"));
  return { end: Math.min(end + 1, lines.length), build };
}

function codeBlock(language, code) {
  const caption = make("figcaption", {}, make("span", {}, language || "code"), copyButton(() => code, "code"));
  // Who has no mouse scrolls it with the arrow keys.
  return make("figure", {}, caption, make("pre", { tabIndex: 0 }, make("code", {}, code)));
}

/** The page's own headings come first: a text's begin at the third level. */
function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  const text = (found[2] ?? "").replace(/[ \t]#+[ \t]*$/, "");
  return { end: at + 1, build: () => make(`h${Math.min(6, found[1].length + 2)}`, {}, inline(text)) };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { end: at + 1, build: () => make("hr") } : null;
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  let end = at;
  while (end < lines.length && (QUOTE.test(lines[end]) || (lines[end].trim() && !begins(lines[end])))) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { end, build: () => make("blockquote", {}, built(inside, depth)) };
}

function built(lines, depth) {
  return blocks(lines, depth + 1).map((block) => block.build());
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const isOrdered = /\d/.test(first[2]);
  const { end, items } = listItems(lines, at, first[1].length, isOrdered);
  const build = () => {
    const children = items.map((item) => make("li", {}, built(item, depth)));
    return isOrdered ? make("ol", { start: parseInt(first[2]) }, children) : make("ul", {}, children);
  };
  return { end, build };
}

/** The lines of each item, without the space in front of them. */
function listItems(lines, at, base, isOrdered) {
  const items = [];
  let end = at, column = 0, blank = false;
  for (; end < lines.length; end += 1) {
    const line = lines[end], indent = line.search(/\S/), item = RULE.test(line) ? null : ITEM.exec(line);
    if (indent < 0) items.at(-1).push("");
    else if (item && indent <= base + 1 && /\d/.test(item[2]) === isOrdered) {
      column = Math.max(item[0].length, indent + item[2].length + 1);
      items.push([line.slice(column).replace(/^\[([ xX])\] /, (_, done) => (done === " " ? "☐ " : "☑ "))]);
    } else if (indent >= Math.min(column, base + 2)) items.at(-1).push(line.slice(Math.min(indent, column)));
    else if (!blank && !begins(line)) items.at(-1).push(line);
    else break;
    blank = indent < 0;
  }
  return { end, items };
}

function table(lines, at) {
  if (!lines[at].includes("|") || !lines[at + 1]?.includes("|") || !COLUMNS.test(lines[at + 1])) return null;
  let end = at + 2;
  while (lines[end]?.includes("|")) end += 1;
  const cells = (line) => line.trim().replace(/^\|/, "").replace(/\|$/, "").split(/(?<!\\)\|/);
  const row = (tag, line) => make("tr", {}, cells(line).map((cell) => make(tag, {}, inline(cell.trim()))));
  const build = () => {
    const body = lines.slice(at + 2, end).map((line) => row("td", line));
    const whole = make("table", {}, make("thead", {}, row("th", lines[at])), make("tbody", {}, body));
    return make("div", { className: "wide", tabIndex: 0 }, whole);
  };
  return { end, build };
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines[end])) end += 1;
  const text = lines.slice(at, end).map((line) => line.trim()).join("\n");
  return { end, build: () => make("p", {}, inline(text)) };
}
