"""What published clients get from `nemotron serve`: each check starts from a text that `nemotron` itself prints.

Usage: python clients.py --nemotron PATH --model DIR [--all]

Without --all only the packages anthropic and openai are needed. Prints a line for each check; the exit code is 1 if one failed.
"""

import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import anthropic
import openai

import checks
import talker

TEMPLATES = pathlib.Path(__file__).resolve().parent.parent / "text/templates"
PROMPT = "Once upon a time"
QUESTION = [{"role": "user", "content": "Hello"}]


class Server:
    """The server as a process, and what the command line says of the same model."""

    def __init__(self, nemotron, model, *options, stderr=subprocess.PIPE, key="none"):
        self.nemotron, self.model = nemotron, model
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [nemotron, "serve", "--model", model, "--device", "cpu", "--port", str(self.port), *options]
        self.process = subprocess.Popen(command, stderr=stderr, text=True)
        deadline = time.monotonic() + 60
        while self.status("/health") != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{self.process.stderr and self.process.stderr.read()}")
            time.sleep(0.05)
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=self.url, api_key=key, max_retries=0)
        self.name = self.client.models.list().data[0].id

    def status(self, path):
        try:
            return urllib.request.urlopen(self.url + path).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def get(self, path):
        return urllib.request.urlopen(self.url + path).read().decode()

    def post(self, path, body, content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def generate(self, *arguments):
        """The JSON object that `nemotron generate` prints."""
        command = [self.nemotron, "generate", "--model", self.model, "--device", "cpu", "--quiet", "--json", *arguments]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def metric(self, name):
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(name) and line[len(name)] in " {"]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, "SIGTERM ends it with 0"


def equal(got, want):
    assert got == want, f"\n  got  {got!r}\n  want {want!r}"


def text_of(stream):
    """The text, the reason and the usage of streamed completions or chat answers."""
    text, finish, usage = "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            delta = getattr(choice, "delta", None)
            text += (delta.content or "") if delta else choice.text
            finish = choice.finish_reason or finish
    return text, finish, usage


def completion_is_what_the_command_prints(server):
    want = server.generate("--prompt", PROMPT, "--max-tokens", "40")
    got = server.client.completions.create(model=server.name, prompt=PROMPT, max_tokens=40, temperature=0)
    equal(got.choices[0].text, want["text"])
    equal((got.usage.prompt_tokens, got.usage.completion_tokens), (want["prompt_tokens"], 40))
    equal(got.choices[0].finish_reason, "length")


def a_stream_is_the_whole_text(server):
    arguments = {"model": server.name, "prompt": PROMPT, "max_tokens": 40, "temperature": 0}
    whole = server.client.completions.create(**arguments)
    text, finish, usage = text_of(
        server.client.completions.create(**arguments, stream=True, stream_options={"include_usage": True})
    )
    equal((text, finish), (whole.choices[0].text, "length"))
    equal(usage.completion_tokens, whole.usage.completion_tokens)


def a_chat_answer_is_the_same_in_both_forms(server):
    arguments = {"model": server.name, "messages": QUESTION, "temperature": 0, "max_completion_tokens": 50}
    whole = server.client.chat.completions.create(**arguments)
    assert whole.choices[0].message.role == "assistant" and whole.choices[0].message.content
    text, finish, _ = text_of(server.client.chat.completions.create(**arguments, stream=True))
    equal((text, finish), (whole.choices[0].message.content, whole.choices[0].finish_reason))


def several_choices_differ_and_repeat_by_seed(server):
    def ask(seed):
        answer = server.client.completions.create(
            model=server.name, prompt=PROMPT, max_tokens=20, n=4, temperature=1.0, seed=seed
        )
        equal([choice.index for choice in answer.choices], [0, 1, 2, 3])
        return [choice.text for choice in answer.choices]

    first = ask(7)
    equal(ask(7), first)
    assert len(set(first)) > 1 and ask(8) != first


def a_list_of_prompts_has_a_choice_for_each(server):
    prompts = [PROMPT, "The dog", [5, 6, 7]]
    answer = [server.client.completions.create(model=server.name, prompt=p, max_tokens=8, temperature=0) for p in prompts]
    both = server.client.completions.create(model=server.name, prompt=prompts[:2], max_tokens=8, temperature=0)
    equal([choice.text for choice in both.choices], [one.choices[0].text for one in answer[:2]])


def stop_texts_end_a_text_in_front_of_them(server):
    arguments = {"model": server.name, "prompt": PROMPT, "max_tokens": 40, "temperature": 0}
    whole = server.client.completions.create(**arguments).choices[0].text
    word = whole.split()[5]
    cut = server.client.completions.create(**arguments, stop=[word]).choices[0]
    equal((cut.text, cut.finish_reason), (whole[: whole.index(word)], "stop"))


def logprobs_are_those_of_the_command(server):
    want = server.generate("--prompt", PROMPT, "--max-tokens", "5", "--logprobs", "3")["logprobs"]
    got = server.client.chat.completions.create
    answer = server.client.completions.create(model=server.name, prompt=PROMPT, max_tokens=5, temperature=0, logprobs=3)
    logprobs = answer.choices[0].logprobs
    equal([round(value, 4) for value in logprobs.token_logprobs], [round(token["logprob"], 4) for token in want])
    assert all(len(top) >= 3 for top in logprobs.top_logprobs)
    chat = got(model=server.name, messages=QUESTION, max_tokens=5, temperature=0, logprobs=True, top_logprobs=2)
    for token in chat.choices[0].logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2 and token.bytes is not None


def echo_scores_a_prompt(server):
    answer = server.client.completions.create(
        model=server.name, prompt=PROMPT, max_tokens=0, echo=True, logprobs=1, temperature=0
    )
    choice = answer.choices[0]
    equal(choice.text, PROMPT)
    assert choice.logprobs.token_logprobs[0] is None and all(value <= 0 for value in choice.logprobs.token_logprobs[1:])


def errors_have_openais_form(server):
    def refused(kind, **arguments):
        try:
            server.client.chat.completions.create(**{"model": server.name, "messages": QUESTION, **arguments})
        except kind as error:
            assert error.body["message"], error.body
            return error
        raise AssertionError(f"{arguments} was taken")

    equal(refused(openai.NotFoundError, model="nobody").status_code, 404)
    equal(refused(openai.BadRequestError, temperature=-1).status_code, 400)
    refused(openai.BadRequestError, messages=[])
    refused(openai.BadRequestError, max_tokens=-5)
    refused(openai.BadRequestError, top_p=7)
    refused(openai.BadRequestError, extra_body={"chat_template": "{{ 1 }}"})
    equal(server.post("/v1/chat/completions", b"{")[0], 400)
    equal(server.post("/v1/chat/completions", b"{}", "text/plain")[0], 415)
    equal(server.status("/v1/nothing"), 404)


def neutral_values_never_fail(server):
    body = {"model": server.name, "messages": QUESTION, "max_tokens": 4, "temperature": 0, "tools": [], "tool_choice": None,
            "response_format": {"type": "text"}, "n": 1, "stop": None, "logit_bias": {}, "user": "x", "seed": None,
            "presence_penalty": 0, "frequency_penalty": 0, "top_p": 1, "stream": None, "something_new": 3}
    equal(server.post("/v1/chat/completions", body)[0], 200)
    body = {"model": server.name, "prompt": PROMPT, "max_tokens": 4, "best_of": 1, "suffix": None, "echo": None}
    equal(server.post("/v1/completions", body)[0], 200)


def tokens_come_back_as_text(server):
    status, tokens = server.post("/tokenize", {"model": server.name, "prompt": PROMPT})
    equal(status, 200)
    status, text = server.post("/detokenize", {"model": server.name, "tokens": tokens["tokens"]})
    assert PROMPT in text["prompt"], text
    equal(tokens["count"], len(tokens["tokens"]))


def many_at_once_get_their_own_texts(server):
    prompts = [f"{PROMPT} number {i}" for i in range(64)]

    def ask(prompt):
        return server.client.completions.create(model=server.name, prompt=prompt, max_tokens=24, temperature=0).choices[0].text

    alone = [ask(prompt) for prompt in prompts[:8]]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        equal(list(pool.map(ask, prompts))[:8], alone)


def metrics_count_what_usage_says(server):
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    before = [server.metric(name) for name in names]
    usage = server.client.completions.create(model=server.name, prompt=PROMPT, max_tokens=16, temperature=0).usage
    after = [server.metric(name) for name in names]
    equal([b - a for a, b in zip(before, after)], [usage.prompt_tokens, usage.completion_tokens])
    equal(server.metric("vllm:num_requests_running"), 0)


def a_client_that_leaves_frees_its_place(server):
    stream = server.client.completions.create(
        model=server.name, prompt=PROMPT, max_tokens=400, temperature=0, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 5
    while server.metric("vllm:num_requests_running"):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.02)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
ARGUMENTS = {"town": "Kyoto", "days": 3}
CALL = ["I ask.\n</think>\n\n", "<tool_call>\n<function=weather>\n", "<parameter=town>\nKyoto\n</parameter>\n",
        "<parameter=days>\n3\n</parameter>\n", "</function>\n</tool_call>"]


class Caller(Server):
    """A server whose model calls `weather` whatever it is asked, in Nemotron 3's form."""

    def __init__(self, server):
        self.folder = tempfile.TemporaryDirectory()
        talker.write(server.model, self.folder.name, (TEMPLATES / "nemotron_3_nano.jinja").read_text(), CALL)
        super().__init__(server.nemotron, self.folder.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()


def functions_are_called_and_answered(server):
    with Caller(server) as caller:
        arguments = {"model": caller.name, "messages": QUESTION, "tools": [WEATHER], "temperature": 0}
        choice = caller.client.chat.completions.create(**arguments).choices[0]
        (call,) = choice.message.tool_calls
        equal((choice.finish_reason, choice.message.content, call.function.name), ("tool_calls", None, "weather"))
        equal((json.loads(call.function.arguments), choice.message.reasoning_content), (ARGUMENTS, "I ask."))
        # The client's own way to put a stream together.
        with caller.client.chat.completions.stream(**arguments) as stream:
            names = [event.name for event in stream if event.type == "tool_calls.function.arguments.delta"]
            streamed = stream.get_final_completion().choices[0]
        assert len(names) > 1 and set(names) == {"weather"}, names
        (same,) = streamed.message.tool_calls
        equal((streamed.finish_reason, same.function.name), ("tool_calls", "weather"))
        equal(json.loads(same.function.arguments), ARGUMENTS)
        # The result is sent back, with the call as it came.
        turns = QUESTION + [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Rain."}]
        answer = caller.client.chat.completions.create(**{**arguments, "messages": turns})
        assert answer.usage.prompt_tokens > 0
        turns[1] = choice.message.model_dump(exclude_none=True)
        _, tokens = caller.post("/tokenize", {"messages": turns, "tools": [WEATHER]})
        text = caller.post("/detokenize", {"tokens": tokens["tokens"]})[1]["prompt"]
        assert "".join(CALL[1:]) in text and "<tool_response>\nRain.\n</tool_response>" in text, text
        equal(len(tokens["tokens"]), answer.usage.prompt_tokens)


def without_ids(calls):
    return [{**call, "id": None} for call in calls]


def the_command_calls_functions_as_the_server_does(server):
    with Caller(server) as caller, tempfile.TemporaryDirectory() as folder:
        tools, saved = pathlib.Path(folder, "tools.json"), pathlib.Path(folder, "talk.json")
        tools.write_text(json.dumps([WEATHER]))
        asked = {"messages": QUESTION, "tools": [WEATHER], "temperature": 0}
        _, answer = caller.post("/v1/chat/completions", asked)
        message, usage = answer["choices"][0]["message"], answer["usage"]
        want = without_ids(message["tool_calls"])
        base = ["--chat", "--prompt", "Hello", "--tools", str(tools)]
        got = caller.generate(*base, "--max-tokens", "100")
        equal((got["text"], got["reasoning"], got["finish_reason"]), ("", "I ask.", "tool_calls"))
        equal((without_ids(got["tool_calls"]), got["prompt_tokens"]), (want, usage["prompt_tokens"]))
        # A call that is cut off is no whole one, as in the server's answer.
        short = caller.post("/v1/chat/completions", {**asked, "max_tokens": 3})[1]["choices"][0]
        got = caller.generate(*base, "--max-tokens", "3")
        equal((without_ids(got["tool_calls"]), got["finish_reason"]), (without_ids(short["message"]["tool_calls"]), "length"))
        equal(short["finish_reason"], "length")

        def command(name, *arguments, **more):
            words = [caller.nemotron, name, "--model", caller.model, "--device", "cpu", "--quiet", "--tools", str(tools), *arguments]
            return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **more).stdout.splitlines()

        for n in ("1", "2"):
            lines = command("generate", "--chat", "--prompt", "Hello", "--max-tokens", "100", "--n", n)
            equal(lines[0], "I ask.")
            equal(without_ids([json.loads(line) for line in lines if line.startswith("{")]), want * int(n))
        # The result of a call goes back to the model, as the server's client sends it.
        lines = command("chat", input=f"Hello\n/result Rain.\n/stats\n/save {saved}\n")
        equal(without_ids([json.loads(line) for line in lines if line.startswith("{")]), want * 2)
        (tokens,) = [int(line.split()[2]) for line in lines if line.startswith("Prompt tokens:")]
        turns = json.loads(saved.read_text())["messages"]
        equal([turn["role"] for turn in turns], ["user", "assistant", "tool", "assistant"])
        _, counted = caller.post("/tokenize", {"messages": turns[:3], "tools": [WEATHER]})
        equal(tokens, counted["count"])


def refused_by(kind, ask, **arguments):
    """The error with which `ask` is refused."""
    try:
        ask(**arguments)
    except kind as error:
        return error
    raise AssertionError(f"{arguments} was taken")


def anthropics_client_gets_the_text_of_a_chat(server):
    want = server.client.chat.completions.create(model=server.name, messages=QUESTION, temperature=0, max_tokens=40)
    arguments = {"model": server.name, "messages": QUESTION, "max_tokens": 40, "extra_body": {"temperature": 0}}
    whole = server.anthropic.messages.create(**arguments)
    equal([block.text for block in whole.content], [want.choices[0].message.content])
    reason = {"length": "max_tokens", "stop": "end_turn"}[want.choices[0].finish_reason]
    equal((whole.stop_reason, whole.usage.output_tokens), (reason, want.usage.completion_tokens))
    with server.anthropic.messages.stream(**arguments) as stream:
        text = "".join(stream.text_stream)
        streamed = stream.get_final_message()
    equal((text, streamed.content[0].text, streamed.stop_reason), (whole.content[0].text, text, reason))
    count = server.anthropic.messages.count_tokens(model=server.name, messages=QUESTION, system="Be kind.")
    kind = server.anthropic.messages.create(**arguments, system=[{"type": "text", "text": "Be kind."}])
    equal(count.input_tokens, kind.usage.input_tokens + kind.usage.cache_read_input_tokens)
    middle = text[3:6]
    cut = server.anthropic.messages.create(**arguments, stop_sequences=[middle])
    equal((cut.content[0].text, cut.stop_reason, cut.stop_sequence), (text[:3], "stop_sequence", middle))


def anthropics_client_is_told_what_is_wrong(server):
    ask, arguments = server.anthropic.messages.create, {"model": server.name, "messages": QUESTION, "max_tokens": 5}
    error = refused_by(anthropic.BadRequestError, ask, **{**arguments, "max_tokens": 0})
    equal((error.body["error"]["type"], error.body["type"]), ("invalid_request_error", "error"))
    assert error.request_id and error.body["error"]["message"].startswith("max_tokens: "), error.body
    refused_by(anthropic.NotFoundError, ask, **{**arguments, "model": "nobody"})
    refused_by(anthropic.BadRequestError, ask, **arguments, tools=[{"name": "f", "input_schema": {"type": "object"}}])


def anthropics_client_calls_tools(server):
    function = WEATHER["function"]
    tool = {"name": function["name"], "input_schema": function["parameters"]}
    with Caller(server) as caller:
        arguments = {"model": caller.name, "messages": QUESTION, "tools": [tool], "max_tokens": 200}
        whole = caller.anthropic.messages.create(**arguments)
        equal([block.type for block in whole.content], ["thinking", "tool_use"])
        thinking, call = whole.content
        equal((whole.stop_reason, thinking.thinking, call.name, call.input), ("tool_use", "I ask.", "weather", ARGUMENTS))
        with caller.anthropic.messages.stream(**arguments) as stream:
            parts = [event.partial_json for event in stream if event.type == "input_json"]
            streamed = stream.get_final_message()
        equal((streamed.stop_reason, [block.type for block in streamed.content]), ("tool_use", ["thinking", "tool_use"]))
        equal((streamed.content[1].input, json.loads("".join(parts))), (ARGUMENTS, ARGUMENTS))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Rain."}]}
        turns = QUESTION + [{"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
        answer = caller.anthropic.messages.create(**{**arguments, "messages": turns})
        same = [QUESTION[0], {"role": "assistant", "content": None, "reasoning_content": "I ask.", "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}]},
            {"role": "tool", "tool_call_id": call.id, "content": "Rain."}]
        _, tokens = caller.post("/tokenize", {"messages": same, "tools": [WEATHER]})
        equal(answer.usage.input_tokens + answer.usage.cache_read_input_tokens, tokens["count"])


def responses_have_the_text_of_a_chat(server):
    want = server.client.chat.completions.create(model=server.name, messages=QUESTION, temperature=0, max_tokens=40)
    arguments = {"model": server.name, "input": "Hello", "temperature": 0, "max_output_tokens": 40}
    whole = server.client.responses.create(**arguments)
    equal(whole.output_text, want.choices[0].message.content)
    equal((whole.usage.input_tokens, whole.usage.output_tokens), (want.usage.prompt_tokens, want.usage.completion_tokens))
    with server.client.responses.stream(**arguments) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    equal(text, whole.output_text)
    last = list(server.client.responses.create(**arguments, stream=True))[-1]
    equal((last.response.output_text, last.response.status), (whole.output_text, whole.status))
    error = refused_by(openai.BadRequestError, server.client.responses.create, **arguments, previous_response_id="resp_1")
    equal(error.body["param"], "previous_response_id")
    refused_by(openai.BadRequestError, server.client.responses.create, **arguments, store=True)


def responses_call_functions(server):
    tool = {"type": "function", "strict": False, **WEATHER["function"]}
    with Caller(server) as caller:
        arguments = {"model": caller.name, "tools": [tool], "temperature": 0}
        whole = caller.client.responses.create(**arguments, input=QUESTION)
        reasoning, call = whole.output
        equal((reasoning.content[0].text, call.name, json.loads(call.arguments)), ("I ask.", "weather", ARGUMENTS))
        with caller.client.responses.stream(**arguments, input=QUESTION) as stream:
            parts = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
            streamed = stream.get_final_response()
        equal([item.type for item in streamed.output], ["reasoning", "function_call"])
        equal((json.loads(streamed.output[1].arguments), json.loads("".join(parts))), (ARGUMENTS, ARGUMENTS))
        turns = QUESTION + whole.output + [{"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}]
        answer = caller.client.responses.create(**arguments, input=turns)
        same = [QUESTION[0], {"role": "assistant", "content": None, "reasoning_content": "I ask.", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}]},
            {"role": "tool", "tool_call_id": "c", "content": "Rain."}]
        _, tokens = caller.post("/tokenize", {"messages": same, "tools": [WEATHER]})
        equal(answer.usage.input_tokens, tokens["count"])


def litellm_and_langchain_call_functions(server):
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from langchain_openai import ChatOpenAI

    with Caller(server) as caller:
        base = {"api_key": "none", "temperature": 0}
        got = litellm.completion(
            model=f"openai/{caller.name}", api_base=caller.url + "/v1", messages=QUESTION, tools=[WEATHER], **base
        )
        equal(json.loads(got.choices[0].message.tool_calls[0].function.arguments), ARGUMENTS)
        chat = ChatOpenAI(model=caller.name, base_url=caller.url + "/v1", **base).bind_tools([WEATHER])
        whole = chat.invoke("Hello")
        equal([(call["name"], call["args"]) for call in whole.tool_calls], [("weather", ARGUMENTS)])
        chunks = list(chat.stream("Hello"))
        streamed = chunks[0]
        for chunk in chunks[1:]:
            streamed = streamed + chunk
        equal([(call["name"], call["args"]) for call in streamed.tool_calls], [("weather", ARGUMENTS)])


def litellm_and_langchain_get_the_same_text(server):
    # Its list of prices is not needed, and would be looked for on the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from langchain_openai import ChatOpenAI

    want = server.client.chat.completions.create(model=server.name, messages=QUESTION, temperature=0, max_tokens=30)
    want = want.choices[0].message.content
    base = {"api_key": "none", "max_tokens": 30, "temperature": 0}
    got = litellm.completion(model=f"openai/{server.name}", api_base=server.url + "/v1", messages=QUESTION, **base)
    equal(got.choices[0].message.content, want)
    chat = ChatOpenAI(model=server.name, base_url=server.url + "/v1", **base)
    equal(chat.invoke("Hello").content, want)
    equal("".join(chunk.content for chunk in chat.stream("Hello")), want)


CHECKS = [
    completion_is_what_the_command_prints,
    a_stream_is_the_whole_text,
    a_chat_answer_is_the_same_in_both_forms,
    several_choices_differ_and_repeat_by_seed,
    a_list_of_prompts_has_a_choice_for_each,
    stop_texts_end_a_text_in_front_of_them,
    logprobs_are_those_of_the_command,
    echo_scores_a_prompt,
    errors_have_openais_form,
    neutral_values_never_fail,
    tokens_come_back_as_text,
    many_at_once_get_their_own_texts,
    metrics_count_what_usage_says,
    a_client_that_leaves_frees_its_place,
    functions_are_called_and_answered,
    the_command_calls_functions_as_the_server_does,
    anthropics_client_gets_the_text_of_a_chat,
    anthropics_client_is_told_what_is_wrong,
    anthropics_client_calls_tools,
    responses_have_the_text_of_a_chat,
    responses_call_functions,
]
WITH_ALL = [litellm_and_langchain_get_the_same_text, litellm_and_langchain_call_functions]


def main():
    arguments = checks.parser(__doc__)
    arguments.add_argument("--all", action="store_true", help="other clients too")
    arguments = arguments.parse_args()
    server = Server(arguments.nemotron, arguments.model)
    code = checks.run(CHECKS + WITH_ALL * arguments.all, server)
    server.stop()
    return code


if __name__ == "__main__":
    sys.exit(main())
