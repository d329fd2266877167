"""Calls of functions that a request demands, in each form that models write them in: for structured.py."""

import contextlib
import json
import pathlib
import shutil
import subprocess
import tempfile

from clients import Server, equal
from judging import SAMPLING, all_of, by_jsonschema, held, judged
from structured_schemas import FORMATS, NUMBERS, array, record, text

# A form's tags, the first of which tells the form where a template has it.
FORMS = {
    "xml": ["<tool_call>", "</tool_call>", "<function="],
    "list": ["<TOOLCALL>", "</TOOLCALL>"],
    "mini": ["<toolcall>", "</toolcall>"],
    "hermes": ["<tool_call>", "</tool_call>"],
    "llama": ["<|python_tag|>"],
    "mistral": ["[TOOL_CALLS]"],
}
TEMPLATE = (
    "{%% for tool in tools or [] %%}{{ tool.function.name }} {%% endfor %%}Say %s.\n"
    "{%% for message in messages %%}{{ message.role }}: {{ message.content }}\n{%% endfor %%}assistant:%s"
)
EOS = 3
REASONING = "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think></think>{% endif %}"

WEATHER = record(("unit", "hours"), town=text(10), days=NUMBERS["digit"], unit={"type": "string", "enum": ["°C", "°F", "a \"b\""]},
                 hours=array(NUMBERS["byte"], 1, 2))
PLACE = record(("exact",), where=record(lat=NUMBERS["signed"], lon=NUMBERS["byte"]), exact={"type": "boolean"})
# Texts and values that Nemotron 3 writes without quotes.
TYPED = record(
    ("note", "level"), code={"type": "string", "pattern": "^[A-Z]{2}-\\d{2}$"}, when=FORMATS["date"], note=text(8, minLength=2),
    level={"enum": [1, 2, 3]}, size={"anyOf": [NUMBERS["digit"], {"type": "null"}]}, kind={"const": "k"})
REFERRING = {"$defs": {"point": record(x=NUMBERS["digit"], y=NUMBERS["digit"]), "n": NUMBERS["digit"]},
             **record(at={"$ref": "#/$defs/point"}, to={"$ref": "#/$defs/point"}, n={"$ref": "#/$defs/n"})}
UNICODE = record(**{"町": text(6), "größe": NUMBERS["digit"]})
NOTHING = record()
TOOLS = {"weather": WEATHER, "find_place": PLACE, "typed": TYPED, "referring": REFERRING, "unicode-1": UNICODE, "nothing": NOTHING}
# Those that refer to what is no definition.
INWARD = {
    "tree": {"type": "object", "properties": {"n": {"enum": [0, 1]}, "of": array({"$ref": "#"}, 0, 1)}, "required": ["n", "of"],
             "additionalProperties": False},
    "twice": record(a=NUMBERS["byte"], b={"$ref": "#/properties/a"}),
}


def tool(name, **more):
    return {"type": "function", "function": {"name": name, "parameters": (TOOLS | INWARD)[name], **more}}


def with_tags(source, folder, tags):
    """The checkpoint with tags as special tokens, in place of the last ones of its vocabulary."""
    for file in pathlib.Path(source).iterdir():
        if file.name != "tokenizer.json":
            shutil.copy(file, folder)
    tokenizer = json.loads((pathlib.Path(source) / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    ids = range(len(words) - len(tags), len(words))
    for word in [word for word, index in words.items() if index in ids]:
        del words[word]
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in tokenizer["model"]["merges"]]
    tokenizer["model"]["merges"] = [[a, b] for a, b in pairs if {a, b, a + b} <= words.keys()]
    keys = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for index, tag in zip(ids, tags):
        words[tag] = index
        tokenizer["added_tokens"].append({"id": index, "content": tag, **keys})
    (pathlib.Path(folder) / "tokenizer.json").write_text(json.dumps(tokenizer))


@contextlib.contextmanager
def speaking(server, form, special=False, reasoning=False):
    """A server of the same model, whose template has that form."""
    tags = FORMS[form]
    with tempfile.TemporaryDirectory() as folder:
        template = pathlib.Path(folder, "template.jinja")
        template.write_text(TEMPLATE % (" ".join(tags), REASONING if reasoning else ""))
        if special:
            with_tags(server.model, folder, [tag for tag in tags if tag != "<function="])
        options = ["--chat-template", str(template)]
        caller = Server(server.nemotron, folder if special else server.model, *options, stderr=subprocess.DEVNULL)
        try:
            yield caller
        finally:
            caller.stop()


def told_calls(choice_message):
    return [(call.function.name, call.function.arguments) for call in choice_message.tool_calls or []]


def chat(caller, stream, **arguments):
    """The calls of an answer as a text of JSON, and its reason."""
    arguments = {"model": caller.name, "messages": [{"role": "user", "content": "Go."}], "max_tokens": 900, **arguments}
    if not stream:
        (choice,) = caller.client.chat.completions.create(**arguments).choices
        return [(json.dumps(told_calls(choice.message)), choice.finish_reason)]
    calls, reason = {}, None
    for chunk in caller.client.chat.completions.create(**arguments, stream=True):
        for choice in chunk.choices:
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, ["", ""])
                call[0] += delta.function.name or ""
                call[1] += delta.function.arguments or ""
            reason = choice.finish_reason or reason
    return [(json.dumps([calls[index] for index in sorted(calls)]), reason)]


def calls_fault(told, allowed, most=None):
    """What is wrong with calls: functions of `allowed`, arguments of their schemas."""
    calls = json.loads(told)
    if not calls or len(calls) > (most or len(calls)):
        return f"{len(calls)} calls"
    for name, arguments in calls:
        if name not in allowed:
            return f"{name} is called"
        fault = by_jsonschema((TOOLS | INWARD)[name])(arguments)
        if fault:
            return f"{name}: {fault}"
    return None


def demand_cases(form):
    """(what, arguments, functions that may be called, most calls)."""
    every = [tool(name) for name in TOOLS]
    for sampling in SAMPLING:
        yield "required", {"tools": every, "tool_choice": "required", **sampling}, list(TOOLS), None
        yield "one call", {"tools": every, "tool_choice": "required", "parallel_tool_calls": False, **sampling}, list(TOOLS), 1
        for name in TOOLS:
            choice = {"type": "function", "function": {"name": name}}
            yield f"named {name}", {"tools": every, "tool_choice": choice, **sampling}, [name], 1


def ended(caller, stream, arguments, allowed, most):
    """The calls of an answer and what is wrong; that it has no end too, for all parts of the functions' schemas have bounds."""
    answers, fault = held(lambda: chat(caller, stream, **arguments), lambda told: calls_fault(told, allowed, most), "tool_calls")
    if most and any(reason == "length" for _, reason in answers):
        fault = f"no end: {answers[0][0][:200]}"
    return answers, fault


def demanded_of(caller, form):
    def ask(place, what, arguments, allowed, most):
        how = {key: value for key, value in arguments.items() if key != "tools"}
        return (f"{form} {what}", how), *ended(caller, place % 3 == 0, arguments, allowed, most)

    return all_of(ask, [(place, *case) for place, case in enumerate(demand_cases(form))])


def demanded_calls_are_made(server):
    found = []
    for form in FORMS:
        for special in (False, True):
            with speaking(server, form, special) as caller:
                found += demanded_of(caller, f"{form}{' with tokens of its own' if special else ''}:")
    return f"{2 * len(FORMS)} forms, " + judged(found, 0.2)


def references_of_a_function_are_its_own(server):
    found = []
    for form in ("xml", "hermes", "llama"):
        with speaking(server, form) as caller:
            for name in INWARD:
                for sampling in SAMPLING[:3]:
                    arguments = {"tools": [tool(name)], "tool_choice": "required", "parallel_tool_calls": False, **sampling}
                    found.append(((f"{form}: {name}", sampling), *ended(caller, False, arguments, [name], 1)))
    return judged(found, 0.7)


def strict_functions_have_arguments_of_their_schemas(server):
    """The model is pushed to begin a call, and to end where it may, but not at once."""
    found = []
    for form in [form for form in FORMS if form != "llama"]:
        with speaking(server, form, special=True) as caller:
            _, tag = caller.post("/tokenize", {"prompt": FORMS[form][0], "add_special_tokens": False})
            bias = {str(tag["tokens"][-1]): 30, str(EOS): 60}
            for name in TOOLS:
                for sampling in SAMPLING[:3]:
                    arguments = {"tools": [tool(name, strict=True)], "parallel_tool_calls": False, "logit_bias": bias,
                                 "extra_body": {"min_tokens": 6}, **sampling}
                    found.append(((f"{form}: strict {name}", sampling), *ended(caller, False, arguments, [name], 1)))
    return f"{len(FORMS) - 1} forms, " + judged(found, 0.2)


def calls_stand_behind_the_reasoning(server):
    found = []
    for form in ("xml", "hermes"):
        with speaking(server, form, special=form == "hermes", reasoning=True) as caller:
            for sampling in SAMPLING[:3]:
                body = {"model": caller.name, "messages": [{"role": "user", "content": "Go."}], "max_tokens": 600, "thinking_token_budget": 12,
                        "tools": [tool("find_place")], "tool_choice": "required", "parallel_tool_calls": False, **sampling}
                status, answer = caller.post("/v1/chat/completions", body)
                assert status == 200, answer
                (choice,) = answer["choices"]
                assert choice["message"]["reasoning"], choice
                told = [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
                fault = calls_fault(json.dumps(told), ["find_place"])
                found.append(((form, sampling), [(json.dumps(told), choice["finish_reason"])], fault))
                del body["tools"], body["tool_choice"], body["parallel_tool_calls"]
                schema = record(a=NUMBERS["digit"])
                body["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
                (choice,) = caller.post("/v1/chat/completions", body)[1]["choices"]
                assert choice["message"]["reasoning"], choice
                fault = by_jsonschema(schema)(choice["message"]["content"])
                found.append(((f"{form} of a schema", sampling), [(choice["message"]["content"], choice["finish_reason"])], fault))
    return judged(found, 0.2)


def other_apis_demand_calls_too(server):
    with speaking(server, "xml") as caller:
        tools = [{"name": name, "input_schema": TOOLS[name]} for name in ("find_place", "nothing")]
        arguments = {"model": caller.name, "messages": [{"role": "user", "content": "Go."}], "max_tokens": 700, "tools": tools}
        for choice, allowed in (({"type": "any"}, ["find_place", "nothing"]), ({"type": "tool", "name": "find_place"}, ["find_place"])):
            answer = caller.anthropic.messages.create(**arguments, tool_choice=choice, extra_body={"temperature": 0})
            calls = [(block.name, json.dumps(block.input)) for block in answer.content if block.type == "tool_use"]
            equal((answer.stop_reason, calls_fault(json.dumps(calls), allowed)), ("tool_use", None))
        tools = [{"type": "function", "name": name, "parameters": TOOLS[name], "strict": True} for name in ("find_place", "nothing")]
        for choice, allowed in (("required", ["find_place", "nothing"]), ({"type": "function", "name": "nothing"}, ["nothing"])):
            answer = caller.client.responses.create(model=caller.name, input="Go.", tools=tools, tool_choice=choice, max_output_tokens=700, temperature=0)
            calls = [(item.name, item.arguments) for item in answer.output if item.type == "function_call"]
            equal((answer.status, calls_fault(json.dumps(calls), allowed)), ("completed", None))
    return "4 answers"


CHECKS = [
    demanded_calls_are_made,
    references_of_a_function_are_its_own,
    strict_functions_have_arguments_of_their_schemas,
    calls_stand_behind_the_reasoning,
    other_apis_demand_calls_too,
]
