// An answer while it comes: what each event adds to the message, and how fast that is.

/** Answers that are being given, by their conversation's id. */
const running = new Map();

/** Adds an answer to a conversation. `changed` hears of every change, with the message; nothing is thrown. */
async function answer(chat, changed) {
  const message = { role: "assistant", content: "" };
  const asked = chat.messages.slice();
  const stopper = new AbortController();
  const clock = { start: performance.now() };
  chat.messages.push(message);
  running.set(chat.id, stopper);
  changed(message, "begins");
  try {
    for await (const event of answerOf(chat, asked, stopper.signal)) {
      add(message, event, clock);
      changed(message, "grows");
    }
  } catch (error) {
    if (error.name === "AbortError") message.note = "Stopped.";
    else if (error instanceof Refused) Object.assign(message, { error: error.message, status: error.status });
    else message.error = `The connection broke (${error.message}).`;
  }
  running.delete(chat.id);
  changed(message, "ends");
}

/** Adds what an event brings to a message. */
function add(message, { choices, usage }, clock) {
  const { delta = {}, finish_reason: finish } = choices[0] ?? {};
  const thought = delta.reasoning_content ?? "";
  const now = performance.now();
  if (thought) {
    message.reasoning = (message.reasoning ?? "") + thought;
    message.thoughtFor = (now - clock.start) / 1000;
  }
  message.content += delta.content ?? "";
  for (const part of delta.tool_calls ?? []) addCall(message, part);
  if (finish === "length") message.note = "Cut off: the most tokens are reached.";
  if (usage) measure(message, usage, now, clock);
}

function addCall(message, { index, id, function: called }) {
  message.calls ??= [];
  const call = (message.calls[index] ??= { id, name: "", arguments: "", result: "" });
  call.name += called?.name ?? "";
  call.arguments += called?.arguments ?? "";
}

/** Tokens per second count from the first ones: what comes before them is the prompt's time. */
function measure(message, usage, now, clock) {
  const tokens = usage.completion_tokens;
  if (tokens > 0 && clock.first === undefined) Object.assign(clock, { first: now, tokens });
  if (tokens > (message.tokens ?? 0)) clock.last = now;
  Object.assign(message, { tokens, used: usage.total_tokens, wait: clock.first - clock.start });
  const [more, time] = [tokens - clock.tokens, clock.last - clock.first];
  message.speed = more > 0 && time > 0 ? (1000 * more) / time : undefined;
}

/** How much and how fast, in words. */
function meter({ tokens, speed, wait, used }, context) {
  if (!tokens) return "";
  const parts = [`${tokens} token${tokens === 1 ? "" : "s"}`];
  if (speed) parts.push(`${speed.toFixed(speed < 100 ? 1 : 0)} tokens/s`);
  parts.push(`first after ${(wait / 1000).toFixed(2)} s`);
  if (context) parts.push(`${used} of ${context} in the context`);
  return parts.join(" · ");
}
