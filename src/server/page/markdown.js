// An answer's text as elements. Three walls keep it from running anything: the renderer writes HTML of the answer as text, DOMPurify lets
// only the tags below through, and the page's Content-Security-Policy runs no script but the page's own and takes no HTML from elsewhere
// (Trusted Types). Built without marked and DOMPurify, the page shows answers as plain text with their code blocks.

// marked's time grows with the square and the cube of some things. What goes beyond these is shown as it was written.
const kMaxMarkdown = 60000;      // characters of a block
const kMaxWhole = 8000;          // characters of an answer that is rendered as a whole; a longer one stays in its blocks
const kMaxEmphasis = 200;        // * and _ in one paragraph
const kMaxMarks = 1000;          // [ ! < ` \\ in one paragraph
const kMaxMilliseconds = 2000;   // of an answer's blocks together
const kDeepLine = /^(?:[ \t]*(?:[-*+>]|\d{1,9}[.)])){30}/m;  // lists and quotes within each other
const kInlineTags = /^<\/?(?:br|sub|sup|kbd|b|i|u|s|em|strong|del|ins|mark)\s*\/?>$/i;
const kSanitize = {
  ALLOWED_TAGS: ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "del", "ins",
    "mark", "b", "i", "u", "s", "sub", "sup", "kbd", "a", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "title", "start", "align", "class"],
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const hasMarkdown = typeof marked === "object" && typeof DOMPurify === "function" && DOMPurify.isSupported === true;

const escapeHtml = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function element(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  const { text, on, ...attributes } = options;
  if (text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, listener] of Object.entries(on ?? {})) node.addEventListener(name, listener);
  node.append(...children);
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", "#icon-" + name);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

function prepareMarkdown() {
  if (!hasMarkdown) return;
  // Debian's 2.4.1+deb12u1 of DOMPurify reads a variable of this name that it does not declare, and fails on every text without it. The depth
  // that it looks for there is checked for each element all the same.
  globalThis.shadowNode = Object.freeze({ __depth: 0 });
  marked.use({
    renderer: {
      html: (html) => (kInlineTags.test(html.trim()) ? html : escapeHtml(html)),
      image: (href, title, text) => `<a href="${escapeHtml(href ?? "")}">${escapeHtml(text || "image")}</a>`,  // nothing is fetched
      checkbox: (checked) => (checked ? "☑ " : "☐ "),
    },
  });
  DOMPurify.addHook("afterSanitizeAttributes", (node) => {
    if (node.nodeName === "A") {
      node.setAttribute("target", "_blank");
      node.setAttribute("rel", "noopener noreferrer nofollow");
    }
    const language = node.nodeName === "CODE" ? /^language-[\w+#.-]{1,30}$/.exec(node.getAttribute("class") ?? "") : null;
    if (node.hasAttribute?.("class") && !language) node.removeAttribute("class");
  });
}

function codeBlock(text, language) {
  const button = element("button", { type: "button", class: "copy-code", "aria-label": "Copy this code" }, icon("copy"), element("span", { text: "Copy" }));
  const head = element("div", { class: "head" }, element("span", { text: language }), button);
  return element("div", { class: "code" }, head, element("pre", { tabindex: "0" }, element("code", { text })));
}

// Fenced code apart, everything as it was written.
function plainFragment(text) {
  const fragment = document.createDocumentFragment();
  const parts = text.split(/^ {0,3}```([^\n`]*)(?:\n|$)/m);
  for (let i = 0; i < parts.length; i += 2) {
    const isCode = i % 4 === 2;
    if (isCode) {
      fragment.append(codeBlock(parts[i].replace(/\n$/, ""), parts[i - 1].trim()));
    } else if (parts[i].trim() !== "") {
      fragment.append(element("p", { class: "plain", text: parts[i].replace(/^\n+|\n+$/g, "") }));
    }
  }
  return fragment;
}

// Paragraph by paragraph: a line that opens something else, or an empty one, begins the count anew.
function isHeavy(text) {
  if (text.length > kMaxMarkdown || kDeepLine.test(text)) return true;
  let emphasis = 0, marks = 0, isCode = false;
  for (const line of text.split("\n")) {
    if (/^ {0,3}(?:```|~~~)/.test(line)) isCode = !isCode;
    if (isCode) continue;
    if (/^\s*(?:$|[-*+][ \t]|#{1,6}[ \t]|\d{1,9}[.)][ \t])/.test(line)) emphasis = marks = 0;
    emphasis += line.match(/\*|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g)?.length ?? 0;  // snake_case is none
    marks += line.match(/[[!<`\\]/g)?.length ?? 0;
    if (emphasis > kMaxEmphasis || marks > kMaxMarks) return true;
  }
  return false;
}

function renderMarkdown(text) {
  if (!hasMarkdown || isHeavy(text)) return plainFragment(text);
  let fragment;
  try {
    fragment = DOMPurify.sanitize(marked.parse(text, { gfm: true, mangle: false, headerIds: false }), kSanitize);
  } catch {
    return plainFragment(text);  // nested deeper than the parser goes
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const code = pre.querySelector("code");
    pre.replaceWith(codeBlock((code ?? pre).textContent.replace(/\n$/, ""), (code?.className ?? "").replace("language-", "")));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = element("div", { class: "table", tabindex: "0" });
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}

// Where blocks that are done end: before a line that opens a new one behind an empty line outside code.
function blockEnds(text, from) {
  const ends = [];
  let fence = "", at = from, before = "x";
  while (at < text.length) {
    const newline = text.indexOf("\n", at);
    if (newline < 0) break;
    const line = text.slice(at, newline);
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line);
    if (fence === "" && before.trim() === "" && /^[^\s>|\-*+\d]/.test(line)) ends.push(at);
    if (mark && fence === "") {
      fence = mark[1];
    } else if (mark && mark[1][0] === fence[0] && mark[1].length >= fence.length && line.trim() === mark[1]) {
      fence = "";
    }
    before = line;
    at = newline + 1;
  }
  return ends;
}

// A growing text: blocks that are done are rendered once, only the last one again.
class MarkdownView {
  constructor(root) {
    this.root = root;
    this.clear();
  }

  clear() {
    this.end = 0;
    this.spent = 0;
    this.tail = element("div");
    this.root.replaceChildren(this.tail);
  }

  update(text) {
    for (const end of blockEnds(text, this.end)) {
      const block = element("div");
      block.append(this.render(text.slice(this.end, end)));
      this.tail.before(block);
      this.end = end;
    }
    this.tail.replaceChildren(this.spent > kMaxMilliseconds ? plainFragment(text.slice(this.end)) : renderMarkdown(text.slice(this.end)));
  }

  render(text) {
    if (this.spent > kMaxMilliseconds) return plainFragment(text);
    const start = performance.now();
    const fragment = renderMarkdown(text);
    this.spent += performance.now() - start;
    return fragment;
  }

  // As a whole, so that lists and link definitions that reach over blocks come together.
  finish(text) {
    this.clear();
    if (text.length > kMaxWhole) return this.update(text);
    this.tail.replaceChildren(renderMarkdown(text));
  }
}
