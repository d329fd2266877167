// The server, by OpenAI's API. Every address is below the page's own, so it may stand behind a proxy.

/** What the server said instead of an answer. */
class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// For this tab alone: a key does not stay in a browser that others use too.
const KEY = "nemotron.key";
let apiKey = "";
try {
  apiKey = sessionStorage.getItem(KEY) ?? "";
} catch {
  // Where nothing is kept, the key is asked for again after a reload.
}

function useKey(key) {
  apiKey = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // As above.
  }
}

async function ask(path, body, signal) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (apiKey) headers.Authorization = `Bearer ${apiKey}`;
  const request = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body), cache: "no-store" };
  const response = await fetch(path, request).catch((error) => {
    throw error.name === "AbortError" ? error : new Refused(`The server cannot be reached (${error.message}).`, 0);
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw new Refused(said?.error?.message ?? `The server answered ${response.status}.`, response.status);
}

async function askModel() {
  const { data } = await (await ask("v1/models")).json();
  return { name: data[0].id, context: data[0].max_model_len };
}

/** The objects of a streamed answer, as they come. */
async function* answerOf(chat, messages, signal) {
  const response = await ask("v1/chat/completions", requestOf(chat.settings, messages), signal);
  for await (const data of eventsOf(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refused(event.error.message, Number(event.error.code) || 0);
    yield event;
  }
  throw new Refused("The connection ended before the answer did.", 0);
}

/** The data of server-sent events. */
async function* eventsOf(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part; !(part = await reader.read()).done; ) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6).trimEnd();
  }
}

function requestOf(settings, messages) {
  const request = { messages: messages.map(plain).filter(Boolean), stream: true };
  request.stream_options = { include_usage: true, continuous_usage_stats: true };
  if (settings.system.trim()) request.messages.unshift({ role: "system", content: settings.system });
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    if (settings[name] !== "") request[name] = Number(settings[name]);
  }
  if (settings.tools.trim()) request.tools = JSON.parse(settings.tools);
  return request;
}

/** A message as the server takes it; none for an answer that did not come. */
function plain({ role, content, calls, call }) {
  if (role === "tool") return { role, tool_call_id: call, content };
  if (!calls?.length) return role === "assistant" && !content ? null : { role, content };
  const named = calls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
  return { role, content: content || null, tool_calls: named };
}
