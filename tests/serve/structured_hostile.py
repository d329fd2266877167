"""Forms that are meant to do harm: an answer or a refusal that names the place, soon, in little memory, and others do not notice."""

import concurrent.futures
import json
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request

import openai

from clients import Server
from judging import Unlike

PROMPT = "Once upon a time"
SECONDS = 5
MOST_MIB = 400
# Between two tokens of a plain stream; other programs may use the processor too.
MOST_GAP = 1.0


def nested(depth, begin, end):
    """JSON of a schema within a schema; as a text, for it may be deeper than Python's own."""
    return begin * depth + '{"type":"integer"}' + end * depth


LISTS = '{"type":"array","items":', "}"
RECORDS = '{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":', "}}"
EITHER = '{"anyOf":[{"type":"null"},', "]}"


def within(schema):
    """A schema two levels down."""
    return {"type": "object", "properties": {"outer": {"type": "array", "items": schema}}, "required": ["outer"]}


def defined(**definitions):
    return {"$defs": definitions, "$ref": f"#/$defs/{next(iter(definitions))}"}


EXPRESSIONS = {
    "repetition of repetitions": "(a{1,1000}){1,1000}",
    "four of them": "((((a{1,99}){1,99}){1,99}){1,99}){1,99}",
    "a or a": "(a|a)*b",
    "star of stars": "((a*)*)*b",
    "many states": "(a|b)*a(a|b){24}",
    "states of a long wait": ".*a.{300}",
    "pairs of waits": "(.*a){40}",
    "a long text": ".{1,100000}",
    "unicode classes": "(\\w{1,500}\\s){1,500}",
    "many alternatives": "|".join(f"word{number}" for number in range(15000)),
    "optional parts": "(abc|def)?" * 15000,
    "brackets": "(" * 5000 + "a" + ")" * 5000,
    "classes": "[a-z0-9]" * 20000,
    "and": "((a|b)*a(a|b){9}c)|((a|b)*b(a|b){9}d)|((a|b)*(a|b){9}e)",
}
SCHEMAS = {
    **{f"{depth} lists": nested(depth, *LISTS) for depth in (20, 60, 100, 200, 5000)},
    **{f"{depth} records": nested(depth, *RECORDS) for depth in (20, 100, 2000)},
    **{f"{depth} choices": nested(depth, *EITHER) for depth in (20, 100, 5000)},
    "enum of 200 KB": {"enum": [f"value number {number}" for number in range(9000)]},
    "one value of 200 KB": {"enum": ["x" * 200_000]},
    "too long": {"enum": ["x" * 300_000]},
    "many optional properties": {"type": "object", "additionalProperties": False, "properties": {f"p{i}": {"type": "integer"} for i in range(3000)}},
    "many patterns": {"type": "object", "properties": {f"p{i}": {"type": "string", "pattern": f"^(a|b)*a(a|b){{{i % 9}}}$"} for i in range(300)},
                      "additionalProperties": False},
    "patterns together": {"type": "string", "allOf": [{"pattern": f"(a|b){{{i}}}c"} for i in range(1, 11)]},
    "many patterns together": {"type": "string", "allOf": [{"pattern": f"(a|b){{{i}}}c"} for i in range(1, 25)]},
    "alternatives of alternatives": {"allOf": [{"anyOf": [{"minimum": i}, {"maximum": i}, {"multipleOf": i + 1}]} for i in range(12)]},
    "multiples": {"type": "integer", "allOf": [{"multipleOf": n} for n in (999_983, 999_979, 999_961)], "minimum": 1, "maximum": 10**15},
    "a large multiple": {"type": "integer", "multipleOf": 99_991, "minimum": 0},
    "long text": {"type": "string", "minLength": 10**7},
    "long list": {"type": "array", "items": {"type": "integer"}, "minItems": 10**6, "maxItems": 10**6},
    "many properties wanted": {"type": "object", "minProperties": 10**6},
    "recursion without end": defined(a={"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"], "additionalProperties": False}),
    "recursion of lists": {"type": "array", "items": {"$ref": "#"}, "minItems": 2},
    "references that double": {"$defs": {f"d{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i + 1}"}] * 2, "minItems": 2} for i in range(25)}
                               | {"d25": {"type": "null"}}, "$ref": "#/$defs/d0"},
}
# What cannot be, and the word that the refusal has.
WRONG = {
    "reference to nowhere": ({"$ref": "#/$defs/nowhere"}, "nowhere"),
    "reference to the network": ({"$ref": "http://example.com/schema.json"}, "http://example.com/schema.json"),
    "reference to a file": ({"$ref": "file:///etc/passwd"}, "file:///etc/passwd"),
    "reference to itself": ({"$ref": "#"}, "$ref"),
    "two that mean each other": (defined(a={"$ref": "#/$defs/b"}, b={"$ref": "#/$defs/a"}), "$ref"),
    "allOf of itself": (defined(a={"allOf": [{"$ref": "#/$defs/a"}]}), "$ref"),
    "empty enum": ({"enum": []}, ""),
    "no alternative": ({"anyOf": []}, "anyOf"),
    "false": (False, ""),
    "bounds that leave nothing": ({"type": "integer", "minimum": 5, "maximum": 4}, "minimum (5)"),
    "lengths that leave nothing": ({"type": "string", "minLength": 5, "maxLength": 4}, "minLength (5)"),
    "no multiple": ({"type": "integer", "minimum": 1, "maximum": 6, "multipleOf": 7}, "multiple of 7"),
    "types that exclude each other": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "types"),
    "a property that cannot be": ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "'a'"),
    "oneOf that overlaps": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    "no type": (within({"type": "strin"}), "strin"),
    "a number as a type": (within({"type": 5}), "type"),
    "a negative length": (within({"type": "string", "minLength": -1}), "minLength"),
    "an unknown format": (within({"type": "string", "format": "idn-email"}), "idn-email"),
    "an expression that is none": (within({"type": "string", "pattern": "("}), "("),
    "a list for properties": (within({"properties": []}), "properties"),
    "a list as a schema": ([{"type": "integer"}], "expected an object"),
    "a text as a schema": (5, "expected an object"),
    **{f"the key {key}": (within({"type": ["object", "array", "string", "integer"], key: value}), key) for key, value in {
        "if": {"const": 1}, "not": {"const": 1}, "contains": {"const": 1}, "uniqueItems": True, "propertyNames": {"pattern": "a"},
        "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {}}, "unevaluatedProperties": False, "unevaluatedItems": False,
        "$dynamicRef": "#a", "minContains": 1}.items()},
}
GRAMMARS = {
    "left recursion": 'start: start "a" | "a"',
    "nothing but itself": "start: a\na: a",
    "many ways to nothing": 'start: a*\na: b*\nb: ""',
    "ambiguous": 'start: e\ne: e e e | e e | "a"',
    "no start": 'x: "a"',
    "GBNF": 'root ::= "a"',
    "repetitions of repetitions": 'start: a{1,1000}\na: b{1,1000}\nb: c{1,1000}\nc: "x"',
    "a long repetition": 'start: "a"{1,1000000}',
    "an unknown rule": "start: nowhere",
    "a file": "%import ..secret.x\nstart: x",
    "many rules": "start: r0\n" + "\n".join(f'r{i}: "a" r{i + 1} | r{i + 1}' for i in range(5000)) + '\nr5000: "b"',
    "a schema within": 'start: %json {"$ref": "http://example.com"}',
}


def memory_mib(server, key):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith(key))


def requests():
    """(name, path, body, what a refusal must say or nothing where an answer is as good); bodies as texts."""
    message = [{"role": "user", "content": "Go."}]

    def response(schema):
        return "/v1/responses", '{"input": "Go.", "max_output_tokens": 60, "temperature": 0, "text": {"format": {"type": "json_schema", ' \
            f'"name": "a", "schema": {schema if isinstance(schema, str) else json.dumps(schema)}}}}}}}'

    def chat(schema):
        return "/v1/chat/completions", json.dumps({"messages": message, "max_tokens": 60, "temperature": 0, "response_format": {
            "type": "json_schema", "json_schema": {"name": "a", "schema": schema}}})

    def completion(kind, text):
        return "/v1/completions", json.dumps({"prompt": PROMPT, "max_tokens": 60, "temperature": 0, "structured_outputs": {kind: text}})

    for name, text in EXPRESSIONS.items():
        yield f"expression: {name}", *completion("regex", text), None
        if len(text) < 1000:
            yield f"pattern: {name}", *chat({"type": "string", "pattern": f"^{text}$"}), None
    for name, text in GRAMMARS.items():
        yield f"grammar: {name}", *completion("grammar", text), None
    for name, schema in SCHEMAS.items():
        yield f"schema: {name}", *response(schema), None
    for name, (schema, word) in WRONG.items():
        yield f"wrong: {name}", *chat(schema), word
        yield f"wrong, of a completion: {name}", *completion("json", schema), word


class Stream(threading.Thread):
    """Plain streams, one after the other, and the times between their pieces."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ends, self.gaps, self.texts = server, False, [], set()

    def run(self):
        while not self.ends:
            try:
                self.texts.add(self.one())
            except openai.APIConnectionError:
                # The server was ended, or has died: that is told by others.
                break

    def one(self):
        last, text = None, ""
        for chunk in self.server.client.completions.create(
                model=self.server.name, prompt=PROMPT, max_tokens=400, temperature=0, stream=True, extra_body={"ignore_eos": True}):
            now = time.monotonic()
            if last is not None:
                self.gaps.append((now - last, now))
            last, text = now, text + "".join(choice.text for choice in chunk.choices)
        return text


def send(server, path, body):
    """The status, the error's message, and how long it took; no status where none came in time."""
    start = time.monotonic()
    request = urllib.request.Request(server.url + path, body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            answer.read()
            return answer.status, "", time.monotonic() - start
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]["message"], time.monotonic() - start
    except OSError as error:
        return None, str(error), time.monotonic() - start


def fault_of(server, name, path, body, word):
    """What is wrong with an answer to a hostile request, and how long it took."""
    status, message, took = send(server, path, body)
    grown = memory_mib(server, "VmHWM")
    if server.process.poll() is not None:
        return f"{name}: the server died", took
    if status is None or took > SECONDS:
        return f"{name}: {took:.1f} s, {message}", took
    if status not in (200, 400) or word is not None and status != 400:
        return f"{name}: {status} {message[:200]}", took
    if status == 400 and (word or "") not in message:
        return f"{name}: {word!r} is not named in {message[:200]!r}", took
    if word is not None and '"outer"' in body and "outer" not in message:
        return f"{name}: where is not told by {message[:200]!r}", took
    if any(words in message for words in ("<non-verbose/>", "found something else", "panic:")):
        return f"{name}: nobody understands {message[:200]!r}", took
    if grown > MOST_MIB:
        return f"{name}: {grown} MiB", took
    return None, took


def hostile_forms_do_no_harm(server):
    """On a server of its own, for what harms it harms what follows."""
    faults, times, gaps = [], [], []
    cases, own = list(requests()), None
    for name, path, body, word in cases:
        if own is None:
            own = Server(server.nemotron, server.model, stderr=subprocess.DEVNULL)
            stream = Stream(own)
            stream.start()
            begin = memory_mib(own, "VmRSS")
        before = time.monotonic()
        fault, took = fault_of(own, name, path, body, word)
        times.append((took, name))
        gaps += [(gap, name) for gap, at in stream.gaps if at >= before]
        worst = max((gap for gap, at in stream.gaps if at >= before), default=0)
        if worst > MOST_GAP and not fault:
            fault = f"{name}: a plain stream stood still for {worst:.2f} s"
        if fault:
            faults.append(fault)
        # Whatever it still does, it does no more.
        if fault and (took > SECONDS or own.process.poll() is not None or "MiB" in fault):
            own.process.kill()
            own.process.wait()
            own = None
    end = memory_mib(own, "VmRSS") if own else 0
    stream.ends = True
    stream.join(30)
    if own:
        own.stop()
    pauses = sorted(gap for gap, _ in gaps)
    told = f"{len(cases)} requests, the slowest {max(times)[0]:.2f} s ({max(times)[1]}); memory from {begin} to {end} MiB; a plain stream's gaps: " \
        f"median {1000 * statistics.median(pauses):.1f} ms, p99 {1000 * pauses[len(pauses) * 99 // 100]:.1f} ms, at most {1000 * max(gaps)[0]:.0f} ms ({max(gaps)[1]})"
    if faults or len(stream.texts) != 1:
        raise Unlike("\n  ".join([told, f"{len(stream.texts)} different texts of one plain stream", *faults]))
    return told


def many_hostile_forms_at_once_hold_up_nobody(server):
    """The same from many clients, beside plain streams."""
    own = Server(server.nemotron, server.model, stderr=subprocess.DEVNULL)
    stream = Stream(own)
    stream.start()
    calm = [case for case in requests() if "many patterns together" not in case[0]]
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda case: send(own, case[1], case[2])[0], calm * 2))
    took = time.monotonic() - start
    stream.ends = True
    stream.join(30)
    most = memory_mib(own, "VmHWM")
    own.process.kill()
    gap = max(gap for gap, _ in stream.gaps)
    told = f"{len(statuses)} requests in {took:.1f} s, {statuses.count(None)} not in {SECONDS} s; {most} MiB at most; the longest gap {1000 * gap:.0f} ms"
    if set(statuses) - {200, 400, None} or most > 2 * MOST_MIB or gap > MOST_GAP or len(stream.texts) != 1:
        raise Unlike(told)
    return told


CHECKS = [hostile_forms_do_no_harm, many_hostile_forms_at_once_hold_up_nobody]
