// The page as a whole: what is shown, the list of conversations, settings, keys, and the connection to the server.

const byId = (id) => document.getElementById(id);
const kNarrow = matchMedia("(max-width: 760px)");
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
const kExamples = {
  chat: ["Explain what a hash table is, with an example", "Write a Python function that finds primes", "Draft a polite reminder for an unpaid invoice"],
  text: ["Once upon a time", "The little dog"],
};
const kSamplingFields = [
  ["temperature", "Temperature", 0, 2, "any"], ["top_p", "Top p", 0, 1, "any"], ["top_k", "Top k", -1, 1000000, 1], ["min_p", "Min p", 0, 1, "any"],
  ["max_tokens", "Max tokens", 1, 1000000, 1], ["seed", "Seed", -1, Number.MAX_SAFE_INTEGER, 1],
];
const kKeys = [
  ["Enter", "send"], ["Shift Enter", "new line"], ["Esc", "stop the answer; close what is open"], ["↑", "in the empty field: edit your last message"],
  ["Mod Shift O", "new conversation"], ["Mod Shift S", "show or hide the conversations"], ["Mod ,", "settings"], ["Mod Shift E", "answer again"],
  ["Mod Shift C", "copy the last answer"], ["Mod /", "this list"], ["/", "to the message field"],
];

const settings = readSettings();
const server = { hasChat: true, canThink: false, context: 0 };
let conversations = [];
let current = newConversation(settings.system);
let answers = new Map();  // index of a message -> AnswerView, of what is shown
let follows = true;       // the end stays in sight

// --- What is shown ---

function announce(text) {
  byId("announcer").textContent = text;
}

function notice(text, isBad = false) {
  byId("notice").hidden = text === "";
  byId("notice").textContent = text;
  byId("notice").classList.toggle("bad", isBad);
}

const shownAnswer = (conversation, index) => (conversation.id === current.id ? answers.get(index) : undefined);

function showConversation() {
  answers = new Map();
  const nodes = current.messages.map((message, index) => {
    if (message.role === "user") return userElement(current, index);
    const view = new AnswerView(current, index);
    answers.set(index, view);
    return view.root;
  });
  byId("log").replaceChildren(...nodes);
  byId("empty").hidden = nodes.length > 0;
  byId("export").hidden = nodes.length === 0;
  byId("title").textContent = current.title || "New conversation";
  document.title = current.title ? `${current.title} – Quern` : "Quern";
  byId("system").value = current.system;
  showList();
}

function showList() {
  byId("conversations").replaceChildren(...conversations.map((each) => {
    const open = element("button", { type: "button", class: "open", text: each.title || "Without a title", title: each.title, "aria-current": each.id === current.id ? "page" : false,
      on: { click: () => openConversation(each) } });
    const remove = toolButton("bin", `Delete ${each.title}`, () => deleteConversations([each], `Delete “${each.title}”?`));
    return element("li", { class: each.id === current.id ? "current" : "" }, open, remove);
  }));
}

function showRunning() {
  byId("send").hidden = running !== null;
  byId("stop").hidden = running === null;
  byId("send").disabled = byId("input").value.trim() === "";
}

function followEnd() {
  const box = byId("scroll");
  if (follows) box.scrollTop = box.scrollHeight;
}

function toEnd() {
  follows = true;
  followEnd();
}

function sizeInput() {
  const input = byId("input");
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

// --- Conversations ---

function keep(conversation) {
  if (!writeConversation(conversation)) notice("The browser has no room to keep this conversation: export or delete some.", true);
  conversations = [conversation, ...conversations.filter((each) => each.id !== conversation.id)];
  showList();
}

function openConversation(conversation) {
  current = conversation;
  showConversation();
  toEnd();
  if (kNarrow.matches) return setSidebar(false);  // without the field's focus, which would raise a keyboard
  byId("input").focus();
}

const startConversation = () => openConversation(newConversation(settings.system));

async function deleteConversations(which, question) {
  if (which.length === 0 || !(await confirmed(question))) return;
  for (const each of which) {
    if (running?.conversation.id === each.id) stop();
    removeConversation(each.id);
  }
  conversations = conversations.filter((each) => !which.includes(each));
  which.some((each) => each.id === current.id) ? startConversation() : showList();
}

function confirmed(question) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function exportConversations(which, name) {
  const text = JSON.stringify({ quern: 1, conversations: which }, withoutTokens, 2);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function importConversations(file) {
  const data = parsed(await file.text());
  const found = (Array.isArray(data?.conversations) ? data.conversations : []).map(asConversation).filter((each) => each !== null);
  for (const each of found.reverse()) {
    if (conversations.some((present) => present.id === each.id)) each.id = newId();
    keep(each);
  }
  notice(found.length > 0 ? `${found.length} conversation${found.length === 1 ? "" : "s"} imported.` : "This file holds no conversations of Quern.", found.length === 0);
  if (found.length > 0) openConversation(found[found.length - 1]);
}

// --- Panels ---

function setSidebar(isOpen) {
  document.body.classList.toggle("no-sidebar", !isOpen);
  byId("open-sidebar").setAttribute("aria-expanded", String(isOpen));
  byId("veil").hidden = !isOpen;
}

function setSettings(isOpen) {
  byId("settings").hidden = !isOpen;
  byId("open-settings").setAttribute("aria-expanded", String(isOpen));
  isOpen ? byId("system").focus() : byId("input").focus();
}

const toggleSidebar = () => setSidebar(document.body.classList.contains("no-sidebar"));
const toggleSettings = () => setSettings(byId("settings").hidden);

function askForKey() {
  notice("This server asks for an API key: enter it in the settings.", true);
  setSettings(true);
  byId("key").focus();
}

function applyTheme() {
  document.documentElement.dataset.theme = settings.theme;
}

function fillSettings() {
  for (const name of ["thinking", "theme"]) byId(name).value = settings[name];
  for (const [name] of kSamplingFields) byId(name).value = settings[name];
  byId("alternatives").checked = settings.alternatives;
  byId("key").value = apiKey();
}

function buildSettings() {
  for (const [name, label, min, max, step] of kSamplingFields) {
    const field = element("input", { id: name, type: "number", inputmode: step === 1 ? "numeric" : "decimal", min: String(min), max: String(max), step: String(step), placeholder: "default" });
    byId("sampling").append(element("div", {}, element("label", { for: name, text: label }), field));
  }
  byId("fields").addEventListener("input", (event) => {
    const field = event.target;
    if (field.id === "key") return;
    if (field.id === "system") {
      current.system = settings.system = field.value;
      if (current.messages.length > 0) writeConversation(current);
    } else if (field.type === "checkbox") {
      settings[field.id] = field.checked;
    } else if (field.validity.valid) {
      settings[field.id] = field.value;
    }
    applyTheme();
    writeSettings(settings);
  });
  byId("fields").addEventListener("submit", (event) => event.preventDefault());
  byId("key").addEventListener("change", () => {
    keepApiKey(byId("key").value);
    connect();
  });
  byId("reset").addEventListener("click", () => {
    Object.assign(settings, kSettings, { theme: settings.theme, model: settings.model });
    current.system = "";
    byId("system").value = "";
    writeSettings(settings);
    fillSettings();
  });
  const list = byId("key-list");
  for (const [keys, meaning] of kKeys) {
    const names = keys.split(" ").map((key) => (key === "Mod" ? (isMac ? "⌘" : "Ctrl") : key));
    list.append(element("dt", {}, ...names.flatMap((key, i) => [i > 0 ? " " : "", element("kbd", { text: key })])), element("dd", { text: meaning }));
  }
}

// --- The server ---

async function connect() {
  try {
    const models = await requestJson("/v1/models");
    const props = await requestJson("/props");
    server.hasChat = props.chat_format !== null;
    server.canThink = /qwen3|qwq/.test(props.chat_format ?? "");
    server.context = props.n_ctx;
    showServer(models.data.map((model) => model.id));
    notice("");
  } catch (error) {
    if (error.status === 401) return askForKey();
    notice(error.status === 503 ? "The model is being loaded." : error.message, error.status !== 503);
    setTimeout(connect, error.status === 503 ? 1000 : 3000);
  }
}

function showServer(names) {
  const select = byId("model");
  select.replaceChildren(...names.map((name) => element("option", { value: name, text: name })));
  select.value = names.includes(settings.model) ? settings.model : names[0];
  settings.model = select.value;
  select.classList.toggle("only", names.length === 1);
  select.disabled = names.length === 1;
  byId("thinking-field").hidden = !server.canThink;
  const context = server.context.toLocaleString("en");
  byId("about").textContent = server.hasChat ? `${names[0]} reads up to ${context} tokens. Conversations stay in this browser.`
    : `${names[0]} has no chat format: it goes on with the text that you write.`;
  byId("examples").replaceChildren(...kExamples[server.hasChat ? "chat" : "text"].map((text) =>
    element("button", { type: "button", text, on: { click: () => send(text) } })));
}

// --- Keys and events ---

function lastIndex(role) {
  return current.messages.findLastIndex((message) => message.role === role);
}

const kShortcuts = {
  "shift+o": startConversation,
  "shift+s": toggleSidebar,
  ",": toggleSettings,
  "/": () => byId("keys").showModal(),
  "shift+e": () => lastIndex("assistant") >= 0 && regenerate(current, lastIndex("assistant")),
  "shift+c": () => {
    const message = current.messages[lastIndex("assistant")];
    if (message) copyText(message.versions[message.at].content, byId("send"));
  },
};

function onKey(event) {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "Escape") {
    if (closeAlternatives() || document.querySelector("dialog[open]")) return;
    if (running) return stop();
    if (!byId("settings").hidden) return setSettings(false);
    if (kNarrow.matches) setSidebar(false);
  } else if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    const action = kShortcuts[(event.shiftKey ? "shift+" : "") + event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  } else if (event.key === "/" && !isTyping) {
    event.preventDefault();
    byId("input").focus();
  }
}

function onInputKey(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("composer").requestSubmit();
  }
  if (event.key === "ArrowUp" && byId("input").value === "" && lastIndex("user") >= 0) {
    event.preventDefault();
    byId("log").children[lastIndex("user")].dispatchEvent(new Event("edit"));
  }
}

function listen() {
  const on = (id, name, listener) => byId(id).addEventListener(name, listener);
  on("composer", "submit", (event) => {
    event.preventDefault();
    if (!send(byId("input").value)) return;
    byId("input").value = "";
    sizeInput();
    showRunning();
  });
  on("input", "keydown", onInputKey);
  on("input", "input", () => {
    sizeInput();
    showRunning();
  });
  on("stop", "click", stop);
  on("to-end", "click", toEnd);
  on("scroll", "scroll", () => {
    const box = byId("scroll");
    follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    byId("to-end").hidden = follows;
  });
  on("new-chat", "click", startConversation);
  on("open-sidebar", "click", toggleSidebar);
  on("close-sidebar", "click", () => setSidebar(false));
  on("veil", "click", () => setSidebar(false));
  on("open-settings", "click", toggleSettings);
  on("close-settings", "click", () => setSettings(false));
  on("show-keys", "click", () => byId("keys").showModal());
  on("export", "click", () => exportConversations([current], "quern-conversation.json"));
  on("export-all", "click", () => exportConversations(conversations, "quern-conversations.json"));
  on("delete-all", "click", () => deleteConversations(conversations, `Delete all ${conversations.length} conversations?`));
  on("import", "click", () => byId("import-file").click());
  on("import-file", "change", async () => {
    if (byId("import-file").files[0]) await importConversations(byId("import-file").files[0]);
    byId("import-file").value = "";
  });
  on("model", "change", () => {
    settings.model = byId("model").value;
    writeSettings(settings);
  });
  on("log", "click", (event) => {
    const button = event.target.closest(".copy-code");
    if (button) copyText(button.closest(".code").querySelector("code").textContent, button);
  });
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("#popover, .tokens")) closeAlternatives();
  });
  addEventListener("storage", () => {  // another tab kept or deleted some
    const isOpen = current.messages.length > 0;
    conversations = readConversations().map((each) => (each.id === current.id || each.id === running?.conversation.id ? conversations.find((mine) => mine.id === each.id) ?? each : each));
    if (isOpen && !conversations.includes(current)) conversations.unshift(current);
    showList();
  });
}

applyTheme();
prepareMarkdown();
buildSettings();
fillSettings();
listen();
setSidebar(!kNarrow.matches);
conversations = readConversations();
if (conversations.length > 0 && conversations[0].updated > Date.now() - 24 * 3600 * 1000) current = conversations[0];
showConversation();
toEnd();
showRunning();
connect();
if (!kNarrow.matches) byId("input").focus();
