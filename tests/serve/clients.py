"""Starts a server of the demo model and asks it with the openai and litellm clients; any difference is a failure."""
import json
import re
import subprocess
import sys

import litellm
import openai

MODEL = "models/storyteller"
FRANCE = "The capital of France is"


def start(binary):
    command = [binary, "serve", "--model", MODEL, "--device", "cpu", "--port", "0", "--quiet"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        found = re.search(r"ready: (http://[0-9.:]+)", line)
        if found:
            return server, found[1]
    raise SystemExit("the server did not start")


def fails(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


def ask_openai(base):
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == [MODEL]
    whole = client.completions.create(model=MODEL, prompt=FRANCE, max_tokens=20, logprobs=2)
    assert whole.choices[0].text == " Paris." and whole.choices[0].finish_reason == "stop", whole
    assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens, whole
    pieces = client.completions.create(model=MODEL, prompt=FRANCE, max_tokens=20, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == " Paris."
    messages = [{"role": "user", "content": "Hello"}]
    chat = client.chat.completions.create(model=MODEL, messages=messages, n=2, logprobs=True, top_logprobs=2)
    assert len(chat.choices) == 2 and chat.choices[0].message.content, chat
    assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 2, chat
    options = {"include_usage": True}
    stream = list(client.chat.completions.create(model=MODEL, messages=messages, stream=True, stream_options=options))
    text = "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
    assert text == chat.choices[0].message.content and stream[-1].usage.completion_tokens > 0, text
    create = client.chat.completions.create
    fails(openai.NotFoundError, lambda: create(model="other", messages=messages))
    bad = fails(openai.BadRequestError, lambda: create(model=MODEL, messages=messages, temperature=-1))
    assert bad.param == "temperature", bad
    fails(openai.BadRequestError, lambda: create(model=MODEL, messages=messages, response_format={"type": "json_object"}))
    return text


def ask_litellm(base, expected):
    messages = [{"role": "user", "content": "Hello"}]
    common = {"model": f"openai/{MODEL}", "messages": messages, "api_base": f"{base}/v1", "api_key": "none"}
    assert litellm.completion(**common).choices[0].message.content == expected
    pieces = litellm.completion(**common, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected


def main():
    server, base = start(sys.argv[1])
    try:
        ask_litellm(base, ask_openai(base))
    finally:
        server.terminate()
    assert server.wait(60) == 0, server.returncode
    print(json.dumps({"clients": ["openai", "litellm"], "failures": 0}))


main()
