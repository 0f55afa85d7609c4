// The server's interface as this page uses it.

class Failure extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const kKeyName = "quern.key";

function apiKey() {
  try {
    return sessionStorage.getItem(kKeyName) ?? "";
  } catch {
    return "";
  }
}

function keepApiKey(key) {
  try {
    sessionStorage.setItem(kKeyName, key);
  } catch {
    // The field holds it as long as it is open.
  }
}

async function request(path, body, signal) {
  const headers = {};
  const key = apiKey() || document.getElementById("key").value;
  if (key) headers.Authorization = "Bearer " + key;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached.");
  }
  if (response.ok) return response;
  const error = parsed(await response.text())?.error;
  throw new Failure(asText(error?.message) || `The server answered ${response.status}.`, response.status, asText(error?.code));
}

const requestJson = async (path, body) => (await request(path, body)).json();

// The events of a stream, parsed. Throws Failure when the server ends it with an error, or cuts it.
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The connection to the server was lost.");
    }
    if (piece.done) throw new Failure("The server cut the answer.");
    const events = (rest + piece.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue;
      if (event === "data: [DONE]") return;
      const data = JSON.parse(event.slice(6));
      if (data.error) throw new Failure(asText(data.error.message), 0, asText(data.error.code));
      yield data;
    }
  }
}

const kNumberFields = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];

function samplingBody(settings) {
  const body = {};
  for (const name of kNumberFields) {
    const value = settings[name].trim();
    if (value !== "" && Number.isFinite(Number(value))) body[name] = Number(value);
  }
  return body;
}

// The messages before `index` as the interface takes them. Reasoning of earlier turns is not sent: the chat formats drop it.
function requestMessages(conversation, index) {
  const messages = conversation.system.trim() === "" ? [] : [{ role: "system", content: conversation.system }];
  for (const message of conversation.messages.slice(0, index)) {
    const content = message.role === "user" ? message.content : message.versions[message.at].content;
    if (message.role === "user" || content !== "") messages.push({ role: message.role, content });
  }
  return messages;
}
