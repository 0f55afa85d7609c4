// Messages as elements. What a message's buttons do is in main.js.

const percent = (logprob) => {
  const share = Math.exp(logprob) * 100;
  return share >= 99.95 ? "100 %" : share >= 0.1 ? `${share.toFixed(1)} %` : "< 0.1 %";
};

function toolButton(name, label, onClick, more = {}) {
  return element("button", { type: "button", class: "icon", "aria-label": label, title: label, on: { click: onClick }, ...more }, icon(name));
}

function copyButton(text) {
  return toolButton("copy", "Copy", (event) => copyText(text(), event.currentTarget));
}

async function copyText(text, button) {
  let isDone = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // pages from plain http addresses have no clipboard
    const field = element("textarea", { class: "unseen", text });
    document.body.append(field);
    field.select();
    isDone = document.execCommand("copy");
    field.remove();
  }
  announce(isDone ? "Copied" : "The browser did not copy");
  const label = button.querySelector("span");
  if (!label) return;
  label.textContent = isDone ? "Copied" : "Not copied";
  setTimeout(() => (label.textContent = "Copy"), 1500);
}

function figuresText(version) {
  const figures = version.figures;
  if (!figures || !figures.outputTokens) return "";
  const parts = [`${figures.outputTokens} token${figures.outputTokens === 1 ? "" : "s"}`];
  if (figures.seconds > 0 && figures.outputTokens > 1) parts.push(`${((figures.outputTokens - 1) / figures.seconds).toFixed(1)} tokens/s`);
  if (figures.firstSeconds > 0) parts.push(`first after ${figures.firstSeconds.toFixed(2)} s`);
  if (figures.promptTokens > 0) parts.push(`prompt ${figures.promptTokens}` + (figures.cachedTokens > 0 ? ` (${figures.cachedTokens} cached)` : ""));
  return parts.join(" · ");
}

// The field that takes a message's place while it is edited.
function editor(text, saveLabel, onSave, onCancel) {
  const field = element("textarea", { rows: String(Math.min(text.split("\n").length + 1, 16)), "aria-label": "Text of the message" });
  field.value = text;
  const save = () => onSave(field.value);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      onCancel();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  });
  const buttons = element("div", {}, element("button", { type: "button", class: "quiet", text: "Cancel", on: { click: onCancel } }),
    element("button", { type: "button", class: "primary", text: saveLabel, on: { click: save } }));
  return { root: element("div", { class: "editor" }, field, buttons), field };
}

function userElement(conversation, index) {
  const message = conversation.messages[index];
  const root = element("article", { class: "message user", "aria-label": "You" });
  const show = () => {
    root.replaceChildren(element("div", { class: "bubble", text: message.content }),
      element("div", { class: "tools" }, copyButton(() => message.content), toolButton("edit", "Edit", edit)));
  };
  const edit = () => {
    if (running) return;
    const { root: form, field } = editor(message.content, "Send", (text) => resend(conversation, index, text), show);
    root.replaceChildren(form);
    field.focus();
  };
  root.addEventListener("edit", edit);
  show();
  return root;
}

// An answer, growing or done.
class AnswerView {
  constructor(conversation, index) {
    this.conversation = conversation;
    this.index = index;
    this.message = conversation.messages[index];
    this.root = element("article", { class: "message assistant", "aria-label": "Answer" });
    this.cost = 0;
    this.show();
  }

  get version() {
    return this.message.versions[this.message.at];
  }
  get isRunning() {
    return running !== null && running.version === this.version;
  }

  show() {
    const version = this.version;
    this.thoughts = element("div");
    this.summary = element("summary");
    this.thinking = element("details", { class: "thinking", hidden: true }, this.summary, this.thoughts);
    this.prose = element("div", { class: "prose" });
    this.markdown = new MarkdownView(this.prose);
    this.below = element("div", { class: "tools" });
    this.root.replaceChildren(this.thinking, this.prose);
    this.updateThinking();
    if (this.isRunning) {
      this.markdown.update(version.content);
    } else {
      this.markdown.finish(version.content);
      this.showEnd();
    }
    this.root.append(this.below);
    this.showTools();
    this.updateWaiting();
  }

  updateWaiting() {
    this.prose.classList.toggle("waiting", this.isRunning && this.version.content === "");
  }

  updateThinking() {
    const version = this.version;
    this.thinking.hidden = version.reasoning.trim() === "";
    if (this.thinking.hidden) return;
    const isThinking = this.isRunning && version.content === "";
    const seconds = version.thoughtSeconds.toFixed(version.thoughtSeconds < 10 ? 1 : 0);
    this.summary.textContent = isThinking ? `Thinking, ${seconds} s` : `Thought for ${seconds} s`;
    if (this.thoughts.textContent !== version.reasoning.trim()) this.thoughts.textContent = version.reasoning.trim();
  }

  // At most some times a second, and never more than a quarter of the time.
  changed() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (!this.isRunning) return;
      const start = performance.now();
      this.updateThinking();
      this.updateWaiting();
      this.markdown.update(this.version.content);
      this.figures.textContent = figuresText(this.version);
      followEnd();
      this.cost = performance.now() - start;
    }, Math.max(50, 3 * this.cost));
  }

  showEnd() {
    const version = this.version;
    if (version.finish === "length") this.prose.after(element("p", { class: "cut", text: "The answer ends here by its length: see max tokens in the settings." }));
    if (version.finish === "stopped") this.prose.after(element("p", { class: "cut", text: "Stopped." }));
    if (version.error) {
      const again = element("button", { type: "button", text: "Try again", on: { click: () => regenerate(this.conversation, this.index, true) } });
      this.prose.after(element("div", { class: "failure", role: "alert" }, element("span", { text: version.error }), again));
    }
  }

  showTools() {
    const { message, version } = this;
    this.figures = element("span", { class: "figures", text: figuresText(version) });
    if (this.isRunning) return this.below.replaceChildren(this.figures);
    const tools = [copyButton(() => version.content), toolButton("again", "Answer again", () => regenerate(this.conversation, this.index)),
      toolButton("edit", "Edit this answer", () => this.edit())];
    if (version.tokens?.length) {
      const isShown = this.shownTokens === version;
      tools.push(toolButton("tokens", "Tokens and their alternatives", () => this.toggleTokens(), { "aria-pressed": String(isShown) }));
    }
    if (message.versions.length > 1) {
      const turn = (step) => {
        message.at += step;
        writeConversation(this.conversation);
        this.show();
      };
      tools.push(element("span", { class: "versions" },
        toolButton("before", "The answer before", () => turn(-1), { disabled: message.at === 0 }),
        element("span", { text: `${message.at + 1}/${message.versions.length}` }),
        toolButton("after", "The next answer", () => turn(1), { disabled: message.at === message.versions.length - 1 })));
    }
    this.below.replaceChildren(...tools, this.figures);
  }

  toggleTokens() {
    const version = this.version;
    const isShown = this.shownTokens === version;
    this.shownTokens = isShown ? null : version;
    if (isShown) {
      this.markdown = new MarkdownView(this.prose);
      this.markdown.finish(version.content);
    } else {
      this.prose.replaceChildren(tokensElement(this.conversation, this.index, version));
    }
    this.showTools();
  }

  edit() {
    const version = this.version;
    const { root, field } = editor(version.content, "Save", (text) => {
      version.content = text;
      delete version.tokens;
      delete version.finish;
      keep(this.conversation);
      this.show();
    }, () => this.show());
    this.root.replaceChildren(root);
    field.focus();
  }
}

// The answer's tokens, each a button that opens what else was likely. An underline marks those that were not likely themselves.
function tokensElement(conversation, index, version) {
  const root = element("div", { class: "tokens" });
  version.tokens.forEach((token, i) => {
    const likely = Math.exp(token.logprob);
    const button = element("button", { type: "button", text: token.token.replaceAll("\n", "↵"), title: percent(token.logprob), class: likely < 0.1 ? "unlikely" : likely < 0.6 ? "unsure" : "" });
    button.addEventListener("click", () => openAlternatives(button, conversation, index, version, i));
    root.append(button, token.token.includes("\n") ? "\n" : "");
  });
  return root;
}

function openAlternatives(anchor, conversation, index, version, tokenIndex) {
  const token = version.tokens[tokenIndex];
  const popover = document.getElementById("popover");
  const before = version.tokens.slice(0, tokenIndex).map((each) => each.token).join("");
  // Text can go on from here when the tokens are the answer: not inside reasoning, and not within a character.
  const goesOn = version.reasoning === "" && (version.prefix ?? "") + version.tokens.map((each) => each.token).join("") === version.content;
  const rows = token.top.map((other) => {
    const isChosen = other.token === token.token;
    const meter = element("meter", { min: "0", max: "1", value: String(Math.exp(other.logprob)), "aria-hidden": "true" });
    return element("button", { type: "button", class: isChosen ? "chosen" : "", disabled: !goesOn || isChosen || running !== null,
      on: { click: () => {
        closeAlternatives();
        goOnFrom(conversation, index, (version.prefix ?? "") + before + other.token);
      } } },
    element("span", { class: "text", text: JSON.stringify(other.token).slice(1, -1).replace(/^ /, "␣") }), meter, element("span", { class: "share", text: percent(other.logprob) }));
  });
  if (!token.top.some((other) => other.token === token.token)) rows.push(element("p", { text: `Chosen: ${JSON.stringify(token.token)}, ${percent(token.logprob)}` }));
  popover.replaceChildren(...rows, element("p", { text: goesOn ? "Choose another to go on from there." : "How likely each was here." }));
  popover.hidden = false;
  const box = anchor.getBoundingClientRect(), size = popover.getBoundingClientRect();
  popover.style.left = `${Math.max(8, Math.min(box.left, innerWidth - size.width - 8))}px`;
  popover.style.top = `${box.bottom + size.height + 8 < innerHeight ? box.bottom + 6 : Math.max(8, box.top - size.height - 6)}px`;
  popover.anchor = anchor;
  popover.querySelector("button:not(:disabled)")?.focus();
}

function closeAlternatives() {
  const popover = document.getElementById("popover");
  if (popover.hidden) return false;
  popover.hidden = true;
  popover.anchor?.focus();
  return true;
}
