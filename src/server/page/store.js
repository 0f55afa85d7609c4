// Conversations and settings, kept in this browser (localStorage), one entry a conversation, so that two tabs do not overwrite each other.
// Where the browser keeps nothing they live until the page closes.

const kPrefix = "quern.";
const kSettings = {
  temperature: "", top_p: "", top_k: "", min_p: "", max_tokens: "", seed: "", thinking: "", system: "", theme: "auto", model: "",
  alternatives: true,
};
const unkept = new Map();

function readItem(name) {
  try {
    return localStorage.getItem(kPrefix + name) ?? unkept.get(name) ?? null;
  } catch {
    return unkept.get(name) ?? null;
  }
}

// False when there is no room; the value then lives until the page closes.
function writeItem(name, value) {
  try {
    localStorage.setItem(kPrefix + name, value);
    unkept.delete(name);
    return true;
  } catch {
    unkept.set(name, value);
    return false;
  }
}

function removeItem(name) {
  unkept.delete(name);
  try {
    localStorage.removeItem(kPrefix + name);
  } catch {
    // Nothing is kept there.
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function readSettings() {
  const settings = { ...kSettings };
  const kept = parsed(readItem("settings"));
  for (const name of Object.keys(kSettings)) {
    if (kept && typeof kept[name] === typeof kSettings[name]) settings[name] = kept[name];
  }
  return settings;
}

const writeSettings = (settings) => writeItem("settings", JSON.stringify(settings));

const asText = (value) => (typeof value === "string" ? value : "");
const asNumber = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);

function asVersion(value) {
  const version = { content: asText(value?.content), reasoning: asText(value?.reasoning), thoughtSeconds: asNumber(value?.thoughtSeconds) };
  if (value?.error) version.error = asText(value.error);
  if (value?.finish) version.finish = asText(value.finish);
  if (value?.figures) {
    const figures = {};
    for (const name of ["promptTokens", "cachedTokens", "outputTokens", "firstSeconds", "seconds"]) figures[name] = asNumber(value.figures[name]);
    version.figures = figures;
  }
  return version;
}

// What was kept or imported, field by field: nothing in it is trusted to have the right type. Null when it is no conversation.
function asConversation(value) {
  if (typeof value !== "object" || value === null || !Array.isArray(value.messages)) return null;
  const messages = [];
  for (const message of value.messages) {
    if (message?.role === "user") {
      messages.push({ role: "user", content: asText(message.content) });
    } else if (message?.role === "assistant") {
      const versions = (Array.isArray(message.versions) ? message.versions : [message]).map(asVersion);
      if (versions.length === 0) return null;
      messages.push({ role: "assistant", versions, at: Math.min(Math.max(Math.trunc(asNumber(message.at)), 0), versions.length - 1) });
    }
  }
  return {
    id: /^[0-9a-f-]{36}$/.test(value.id) ? value.id : newId(),
    title: asText(value.title),
    updated: asNumber(value.updated) || Date.now(),
    system: asText(value.system),
    messages,
  };
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

const newConversation = (system) => ({ id: newId(), title: "", updated: Date.now(), system, messages: [] });

// Token alternatives are large and stay in memory.
function withoutTokens(name, value) {
  return name === "tokens" ? undefined : value;
}

function writeConversation(conversation) {
  conversation.updated = Date.now();
  return writeItem("chat." + conversation.id, JSON.stringify(conversation, withoutTokens));
}

const removeConversation = (id) => removeItem("chat." + id);

// All of them, the newest first.
function readConversations() {
  const names = new Set(unkept.keys());
  try {
    for (let i = 0; i < localStorage.length; ++i) {
      const key = localStorage.key(i);
      if (key.startsWith(kPrefix)) names.add(key.slice(kPrefix.length));
    }
  } catch {
    // Only those in memory.
  }
  const found = [];
  for (const name of names) {
    const conversation = name.startsWith("chat.") ? asConversation(parsed(readItem(name))) : null;
    if (conversation) found.push(conversation);
  }
  return found.sort((a, b) => b.updated - a.updated);
}
