// Asking the server, and what becomes of its answer. One answer at a time is on its way; it goes on while another conversation is shown.

let running = null;  // { conversation, index, version, controller }

function requestOf(conversation, index, version) {
  const body = { stream: true, stream_options: { include_usage: true, continuous_usage_stats: true }, ...samplingBody(settings) };
  if (settings.model) body.model = settings.model;
  if (!server.hasChat) {
    const text = requestMessages(conversation, index).map((message) => message.content).join("") + version.content;
    return ["/v1/completions", { max_tokens: 256, ...body, prompt: text, ...(settings.alternatives ? { logprobs: 5 } : {}) }];
  }
  body.messages = requestMessages(conversation, index);
  if (version.content !== "") {
    body.messages.push({ role: "assistant", content: version.content });
    body.continue_final_message = true;
    body.add_generation_prompt = false;
  }
  if (settings.alternatives) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  if (server.canThink && settings.thinking) body.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  return ["/v1/chat/completions", body];
}

// One shape for the tokens of both interfaces.
function tokensOf(logprobs) {
  if (!logprobs) return [];
  if (logprobs.content) {
    return logprobs.content.map((each) => ({ token: each.token, logprob: each.logprob, top: (each.top_logprobs ?? []).map((other) => ({ token: other.token, logprob: other.logprob })) }));
  }
  return (logprobs.tokens ?? []).map((token, i) => ({
    token, logprob: logprobs.token_logprobs[i] ?? 0,
    top: Object.entries(logprobs.top_logprobs?.[i] ?? {}).map(([other, logprob]) => ({ token: other, logprob })).sort((a, b) => b.logprob - a.logprob),
  }));
}

function take(version, data, clock) {
  const now = performance.now() / 1000;
  const choice = data.choices?.[0];
  if (choice) {
    const text = choice.text ?? choice.delta?.content ?? "";
    const reasoning = choice.delta?.reasoning_content ?? choice.delta?.reasoning ?? "";
    version.tokens.push(...tokensOf(choice.logprobs));
    if (text !== "" || reasoning !== "") {
      if (!clock.first) clock.first = now;
      clock.last = now;
    }
    version.reasoning += reasoning;
    if (reasoning !== "") version.thoughtSeconds = now - clock.first;
    version.content += text;
    if (choice.finish_reason) version.finish = choice.finish_reason;
  }
  if (data.usage) {
    version.figures = {
      promptTokens: data.usage.prompt_tokens,
      cachedTokens: data.usage.prompt_tokens_details?.cached_tokens ?? 0,
      outputTokens: data.usage.completion_tokens,
      firstSeconds: clock.first ? clock.first - clock.start : 0,
      seconds: clock.first ? clock.last - clock.first : 0,
    };
  }
}

// Fills the last version of message `index`, which may begin with text to go on from.
async function generate(conversation, index) {
  const message = conversation.messages[index];
  const version = message.versions[message.at];
  const [path, body] = requestOf(conversation, index, version);
  const controller = new AbortController();
  running = { conversation, index, version, controller };
  version.tokens = [];
  version.prefix = version.content;
  showRunning();
  announce("Answering");
  try {
    const clock = { start: performance.now() / 1000, first: 0, last: 0 };
    const response = await request(path, body, controller.signal);
    for await (const data of readEvents(response)) {
      take(version, data, clock);
      shownAnswer(conversation, index)?.changed();
    }
  } catch (error) {
    if (error.name === "AbortError") {
      version.finish = "stopped";
    } else {
      version.error = error instanceof Failure ? error.message : "This page failed: " + error.message;
      if (error.status === 401) askForKey();
    }
  }
  running = null;
  keep(conversation);
  const view = shownAnswer(conversation, index);
  if (view) {
    view.show();
    followEnd();
  }
  showRunning();
  announce(version.error ?? `Answer complete, ${version.figures?.outputTokens ?? 0} tokens`);
}

const stop = () => running?.controller.abort();

const newVersion = (content = "") => ({ content, reasoning: "", thoughtSeconds: 0 });

// Appends the user's words and an answer to them.
function send(text) {
  if (running || text.trim() === "") return false;
  const conversation = current;
  conversation.messages.push({ role: "user", content: text }, { role: "assistant", versions: [newVersion()], at: 0 });
  if (conversation.title === "") conversation.title = text.trim().split("\n")[0].slice(0, 80);
  begin(conversation, conversation.messages.length - 1);
  return true;
}

// Keeps, shows and asks. What follows message `index` is gone.
function begin(conversation, index) {
  conversation.messages.length = index + 1;
  keep(conversation);
  generate(conversation, index);  // is running before its answer is shown
  showConversation();
  toEnd();
}

function resend(conversation, index, text) {
  if (running || text.trim() === "") return;
  conversation.messages[index].content = text;
  conversation.messages[index + 1] = { role: "assistant", versions: [newVersion()], at: 0 };
  begin(conversation, index + 1);
}

// Another answer beside those that are there; in the place of one that failed.
function regenerate(conversation, index, isReplaced = false) {
  if (running) return;
  const message = conversation.messages[index];
  if (isReplaced) message.versions.splice(message.at, 1);
  message.versions.push(newVersion());
  message.at = message.versions.length - 1;
  begin(conversation, index);
}

function goOnFrom(conversation, index, text) {
  if (running) return;
  const message = conversation.messages[index];
  message.versions.push(newVersion(text));
  message.at = message.versions.length - 1;
  begin(conversation, index);
}
