// Markdown inside a paragraph. The text may be hostile: what is not understood stays text, and no pattern takes more than
// linear time, but for lengths that are bounded.

/** Deeper nesting is text, so that no answer overflows the stack. */
const DEEPEST = 8;
const MARK = /\\[!-/:-@[-`{-~]|`+|\*{1,3}|_{1,3}|~~|!?\[|<?https?:\/\/|\n/g;
const LINK =
  /!?\[((?:[^[\]\\]|\\.|\[[^[\]]{0,200}\]){0,1000})\]\(\s*<?([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*)>?(?:\s+"[^"\n]*")?\s*\)/y;
const ADDRESS = /<?(https?:\/\/[^\s<>"'`]{1,2000})>?/y;
const TAGS = { "*": ["em"], "_": ["em"], "**": ["strong"], "__": ["strong"], "***": ["em", "strong"], "___": ["em", "strong"], "~~": ["del"] };

/** The nodes of a text. `place` says how deep it stands, and whether in a link. */
function inline(text, place = { depth: 0, linked: false }) {
  const nodes = [];
  // Marks for which there is no end further on: looking again for each of them would take quadratic time.
  const endless = new Set();
  const marks = new RegExp(MARK);
  let plain = 0;
  for (let mark; (mark = marks.exec(text)); ) {
    const found = span(text, mark.index, mark[0], place, endless);
    if (!found) continue;
    nodes.push(text.slice(plain, mark.index), found.node);
    plain = marks.lastIndex = found.end;
  }
  nodes.push(text.slice(plain));
  return nodes.filter((node) => node !== "");
}

/** What begins with a mark: its node, and where it ends. */
function span(text, start, mark, place, endless) {
  switch (mark[0]) {
    case "\\": return { node: mark[1], end: start + 2 };
    case "\n": return { node: make("br"), end: start + 1 };
    case "`": return codeSpan(text, start, mark, endless);
    case "*": case "_": case "~": return emphasis(text, start, mark, place, endless);
    case "[": case "!": return link(text, start, place);
    default: return address(text, start, place);
  }
}

function codeSpan(text, start, mark, endless) {
  if (endless.has(mark)) return null;
  const runs = /`+/g;
  runs.lastIndex = start + mark.length;
  for (let run; (run = runs.exec(text)); ) {
    if (run[0].length !== mark.length) continue;
    const code = text.slice(start + mark.length, run.index).replaceAll("\n", " ");
    return { node: make("code", {}, code.replace(/^ (.*\S.*) $/, "$1")), end: runs.lastIndex };
  }
  endless.add(mark);
  return null;
}

const isWord = (letter) => letter !== undefined && /[\p{L}\p{N}_]/u.test(letter);
const isSpace = (letter) => letter === undefined || /\s/.test(letter);

function emphasis(text, start, mark, place, endless) {
  const begin = start + mark.length;
  const opens = !isSpace(text[begin]) && !(mark[0] === "_" && isWord(text[start - 1]));
  if (!opens || place.depth >= DEEPEST || endless.has(mark)) return null;
  const end = closing(text, begin, mark, endless);
  if (end < 0) {
    endless.add(mark);
    return null;
  }
  const inside = inline(text.slice(begin, end), { ...place, depth: place.depth + 1 });
  const [node] = TAGS[mark].reduceRight((children, tag) => [make(tag, {}, children)], inside);
  return { node, end: end + mark.length };
}

/** Where the end of an emphasis begins: a run of the same length, else the last part of a longer one. */
function closing(text, begin, mark, endless) {
  // What stands in code ends nothing.
  const runs = new RegExp(`\`[^\`]+\`|\\${mark[0]}+`, "g");
  runs.lastIndex = begin;
  let longer = -1;
  for (let run; (run = runs.exec(text)); ) {
    const before = text[run.index - 1];
    const closes = run[0][0] === mark[0] && !isSpace(before) && before !== "\\" && !(mark[0] === "_" && isWord(text[runs.lastIndex]));
    if (!closes || run[0].length < mark.length) continue;
    if (run[0].length === mark.length) return run.index;
    if (longer < 0) longer = runs.lastIndex - mark.length;
    if (endless.has(`only longer ${mark}`)) return longer;
  }
  endless.add(`only longer ${mark}`);
  return longer;
}

/** An image is a link too: nothing is fetched from elsewhere before somebody asks for it. */
function link(text, start, place) {
  LINK.lastIndex = start;
  const found = place.linked ? null : LINK.exec(text);
  const href = found && webAddress(found[2]);
  if (!href) return null;
  const label = inline(found[1] || href, { ...place, depth: place.depth + 1, linked: true });
  return { node: anchor(href, label), end: start + found[0].length };
}

function address(text, start, place) {
  ADDRESS.lastIndex = start;
  const found = place.linked ? null : ADDRESS.exec(text);
  if (!found) return null;
  const isClosed = /^<.*>$/.test(found[0]);
  // Punctuation behind an address belongs to the sentence.
  const plain = isClosed ? found[1] : found[1].replace(found[1].includes("(") ? /[.,;:!?*_]+$/ : /[.,;:!?*_)\]]+$/, "");
  const href = webAddress(plain);
  if (!href) return null;
  const prefix = found[0].startsWith("<") && !isClosed ? "<" : "";
  const node = make("span", {}, prefix, anchor(href, [plain]));
  return { node, end: start + (isClosed ? found[0].length : prefix.length + plain.length) };
}

/** The address if it is one of the web: a link must not run a script or open a file. */
function webAddress(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url && ["http:", "https:"].includes(url.protocol) ? url.href : null;
}

function anchor(href, label) {
  return make("a", { href, title: href, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
}
