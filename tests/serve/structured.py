"""Answers that are held to a form, by `nemotron serve`: JSON schemas, expressions, choices, grammars and calls of functions.

Usage: python structured.py --nemotron PATH --model DIR [--only WORD]

What the server says is checked by others: jsonschema, Python's `re`, a parser of sums. Prints a line for each check, with figures; the
exit code is 1 if one failed.
"""

import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile
import traceback

import structured_calls
import structured_expressions as expressions
import structured_hostile
from clients import Server, equal
from judging import SAMPLING, STREAMS, Unlike, all_of, by_jsonschema, collected, held, judged
from structured_schemas import NUMBERS, record, schemas, text

PROMPT = "Once upon a time"
QUESTION = [{"role": "user", "content": "Tell me."}]

def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def of_choices(answer):
    return [(choice.message.content, choice.finish_reason) for choice in answer.choices]


def chat(server, schema, temperature, seed=None, **more):
    return of_choices(server.client.chat.completions.create(
        model=server.name, messages=QUESTION, max_tokens=900, temperature=temperature, seed=seed, response_format=schema_format(schema), **more))


def three_chats(server, schema, **sampling):
    return chat(server, schema, **sampling, n=3)


def streamed_chat(server, schema, **sampling):
    return collected(server.client.chat.completions.create(
        model=server.name, messages=QUESTION, max_tokens=900, response_format=schema_format(schema), n=2, stream=True, **sampling),
        lambda choice: choice.delta.content)


def completion(server, constraint, stream=False, **sampling):
    arguments = {"model": server.name, "prompt": PROMPT, "max_tokens": 900, "extra_body": constraint, **sampling}
    if stream:
        return collected(server.client.completions.create(**arguments, stream=True), lambda choice: choice.text)
    return [(choice.text, choice.finish_reason) for choice in server.client.completions.create(**arguments).choices]


def json_completion(server, schema, **sampling):
    return completion(server, {"structured_outputs": {"json": schema}}, **sampling)


def streamed_completion(server, schema, **sampling):
    return completion(server, {"guided_json": json.dumps(schema)}, stream=True, **sampling)


def response(server, schema, temperature, seed=None):
    form = {"type": "json_schema", "name": "answer", "strict": True, "schema": schema}
    answer = server.client.responses.create(
        model=server.name, input="Tell me.", max_output_tokens=900, temperature=temperature, text={"format": form})
    return [(answer.output_text, "stop" if answer.status == "completed" else "length")]


def message(server, schema, temperature, seed=None):
    answer = server.anthropic.messages.create(
        model=server.name, messages=QUESTION, max_tokens=900,
        extra_body={"temperature": temperature, "output_config": {"format": {"type": "json_schema", "schema": schema}}})
    return [("".join(block.text for block in answer.content), "stop" if answer.stop_reason == "end_turn" else "length")]


WAYS = [chat, json_completion, streamed_chat, three_chats, streamed_completion, response, message]


def schema_cases():
    """(name, way, schema, sampling): each schema greedy and sampled, by ways in turn."""
    for place, (name, schema) in enumerate(schemas().items()):
        for turn, sampling in enumerate(SAMPLING):
            way = WAYS[(place + 2 * turn) % len(WAYS)]
            # Neither API has seeds.
            sampling = {**sampling, "temperature": min(sampling["temperature"], 1)} if way in (response, message) else sampling
            yield name, way, schema, sampling


def answers_are_json_of_their_schemas(server):
    def ask(name, way, schema, sampling):
        answers, fault = held(lambda: way(server, schema, **sampling), by_jsonschema(schema))
        return (name, f"{way.__name__}, {sampling}"), answers, fault

    assert len(schemas()) >= 200
    return f"{len(schemas())} schemas, " + judged(all_of(ask, schema_cases()), 0.02)


def answers_are_json_objects(server):
    def ask(field, sampling):
        is_object = by_jsonschema({"type": "object"})
        return (str(field), sampling), *held(lambda: completion(server, field, **sampling), is_object)

    fields = [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}]
    # Nothing ends them but the model.
    return judged(all_of(ask, [(field, sampling) for field in fields for sampling in SAMPLING[:3]]), 0.7)


def answers_match_their_expressions(server):
    def ask(place, expression, sampling):
        field = {"guided_regex": expression} if place % 2 else {"structured_outputs": {"regex": expression}}
        is_right = lambda text: None if expressions.python(expression).fullmatch(text) else "does not match"
        return (expression, sampling), *held(lambda: completion(server, field, stream=place % 3 == 0, **sampling), is_right)

    wanted = expressions.EXPRESSIONS
    assert len(set(wanted)) >= 100
    cases = [(place, expression, sampling) for place, expression in enumerate(wanted) for sampling in SAMPLING]
    return f"{len(wanted)} expressions, " + judged(all_of(ask, cases), 0.0)


def expressions_that_cannot_be_are_refused(server):
    for expression in expressions.REFUSED:
        status, body = server.post("/v1/completions", {"prompt": PROMPT, "structured_outputs": {"regex": expression}})
        equal((expression, status, body["error"]["param"]), (expression, 400, "structured_outputs.regex"))
    return f"{len(expressions.REFUSED)} expressions"


def answers_are_among_their_choices(server):
    def ask(place, choices, sampling):
        field = {"guided_choice": choices} if place % 2 else {"structured_outputs": {"choice": choices}}
        is_right = lambda text: None if text in choices else f"not among {str(choices)[:60]}"
        return (str(choices)[:60], sampling), *held(lambda: completion(server, field, **sampling), is_right)

    cases = [(place, choices, sampling) for place, choices in enumerate(expressions.CHOICES) for sampling in SAMPLING]
    return judged(all_of(ask, cases), 0.0)


def answers_follow_their_grammars(server):
    def ask(place, name, sampling):
        grammar, is_of_it = expressions.GRAMMARS[name]
        field = {"guided_grammar": grammar} if place % 2 else {"structured_outputs": {"grammar": grammar}}
        is_right = lambda text: None if is_of_it(text) else "not of the grammar"
        return (name, sampling), *held(lambda: completion(server, field, **sampling), is_right)

    more = [{"temperature": 1.5, "seed": seed} for seed in range(10)]
    cases = [(place, name, sampling) for place, name in enumerate(expressions.GRAMMARS) for sampling in SAMPLING + more]
    return judged(all_of(ask, cases), 0.1)


def texts_without_a_form_are_what_they_were(server):
    """Alone, beside constrained answers, and under an expression that allows everything; those that are held to a form likewise."""
    free = [{"prompt": prompt, "max_tokens": 120, **sampling} for prompt in (PROMPT, "The dog", "Nora said", "日本") for sampling in SAMPLING]
    schema = {"type": "array", "items": {"type": "string", "maxLength": 30}, "minItems": 4, "maxItems": 8}
    bound = [{"prompt": PROMPT, "max_tokens": 300, "structured_outputs": {"json": schema}, "temperature": 1, "seed": seed} for seed in range(16)]

    def ask(body):
        status, answer = server.post("/v1/completions", {**body, "return_token_ids": True})
        assert status == 200, answer
        return answer["choices"][0]["token_ids"], answer["choices"][0]["text"]

    alone = [[ask(body) for body in bodies] for bodies in (free, bound)]
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as beside, concurrent.futures.ThreadPoolExecutor(3) as pool:
        constrained = beside.map(ask, bound * 3)
        equal(list(pool.map(ask, free)), alone[0])
        equal(list(constrained), alone[1] * 3)
    everything = {"structured_outputs": {"regex": "(?s).*"}}
    greedy = [body for body in free if body["temperature"] == 0]
    equal([ask({**body, **everything}) for body in greedy], [ask(body) for body in greedy])
    return f"{len(free)} free texts, {len(bound)} held to a form, {len(greedy)} greedy ones to one that allows everything"


def the_command_says_the_same(server):
    """`generate` with the same form, and its batches."""
    schema = record(name=text(8), age=NUMBERS["byte"])
    grammar = expressions.GRAMMARS["table"][0]
    forms = [("--json-schema", json.dumps(schema), {"json": schema}), ("--grammar", grammar, {"grammar": grammar}),
             ("--regex", "[a-z]{3,9}!", {"regex": "[a-z]{3,9}!"}), ("--choice", "on a hill", {"choice": ["on a hill"]})]
    with tempfile.TemporaryDirectory() as folder:
        for option, given, asked in forms:
            want = completion(server, {"structured_outputs": asked}, temperature=0)[0][0]
            if option in ("--json-schema", "--grammar"):
                file = pathlib.Path(folder, option)
                file.write_text(given)
                given = str(file)
            equal(server.generate("--prompt", PROMPT, "--max-tokens", "300", option, given)["text"], want)
            lines = [json.dumps({"prompt": PROMPT, "max_tokens": 300, **field}) for field in ({"structured_outputs": asked}, {})]
            batch = pathlib.Path(folder, "batch")
            batch.write_text("\n".join(lines))
            command = [server.nemotron, "generate", "--model", server.model, "--device", "cpu", "--quiet", "--batch", str(batch)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
            equal(json.loads(out[0])["text"], want)
            free = server.client.completions.create(model=server.name, prompt=PROMPT, max_tokens=300, temperature=0)
            equal(json.loads(out[1])["text"], free.choices[0].text)
    return f"{len(forms)} forms"


CHECKS = [
    answers_are_json_of_their_schemas,
    answers_are_json_objects,
    answers_match_their_expressions,
    expressions_that_cannot_be_are_refused,
    answers_are_among_their_choices,
    answers_follow_their_grammars,
    texts_without_a_form_are_what_they_were,
    the_command_says_the_same,
    *structured_calls.CHECKS,
    *structured_hostile.CHECKS,
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nemotron", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--only", default="", help="checks whose names have this word")
    arguments = arguments.parse_args()
    server = Server(arguments.nemotron, arguments.model, stderr=subprocess.DEVNULL)
    wrong = 0
    for check in CHECKS:
        name = check.__name__
        if arguments.only not in name:
            continue
        try:
            print(f"ok      {name}: {check(server)}", flush=True)
        except Exception as error:
            wrong += 1
            found = str(error) if isinstance(error, Unlike) else traceback.format_exc()
            print(f"FAILED  {name}: {found}", flush=True)
    server.stop()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
