"""Thousands of generated requests against `nemotron serve`, from its OpenAPI document, by schemathesis.

Usage: python schema.py --nemotron PATH --model DIR [--cases 1000]

The cases are the same each time. Answers are kept short: of the document the generator is told fewer answers and tokens. No response may be a
500, take long, or differ from the document; at least 5 000 requests are sent, and 30 % of them are taken.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import checks
from clients import TEMPLATES, Server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance," \
    "response_headers_conformance"


def narrowed(document):
    """The document, for requests that are quick and mostly right: what it cannot say is not asked for."""
    schemas = document["components"]["schemas"]
    for name in ("ChatRequest", "CompletionRequest"):
        fields = schemas[name]["properties"]
        fields["n"]["maximum"] = 3
        fields["max_tokens"]["maximum"] = 12
        fields["min_tokens"]["maximum"] = 12
        # Ids by which a bias is named, as texts.
        fields["logit_bias"]["propertyNames"] = {"type": "string", "pattern": "^[1-9][0-9]{0,2}$"}
        fields["logit_bias"]["additionalProperties"].update(minimum=-100, maximum=100)
        # Less is nothing in 32 bits.
        fields["top_p"].update(minimum=0.01)
    schemas["ChatRequest"]["properties"]["max_completion_tokens"]["maximum"] = 12
    for name, field in (("MessagesRequest", "max_tokens"), ("ResponsesRequest", "max_output_tokens")):
        schemas[name]["properties"][field]["maximum"] = 12
        schemas[name]["properties"]["top_p"].update(minimum=0.01)
    needed = {"ChatRequest": ["max_tokens", "messages"], "CompletionRequest": ["max_tokens", "prompt"],
              "MessagesRequest": ["max_tokens", "messages"], "ResponsesRequest": ["max_output_tokens", "input"],
              "TokenizeRequest": ["prompt"], "DetokenizeRequest": ["tokens"]}
    for name, fields in needed.items():
        schemas[name]["required"] = fields
        for field in fields:
            without_null(schemas[name]["properties"][field])
    # One way to ask is enough.
    del schemas["TokenizeRequest"]["properties"]["messages"]
    return document


def without_null(schema):
    """Null is as good as no field."""
    if isinstance(schema.get("type"), list):
        schema["type"] = [kind for kind in schema["type"] if kind != "null"]
    if "oneOf" in schema:
        schema["oneOf"] = [kind for kind in schema["oneOf"] if kind.get("type") != "null"]


def main():
    arguments = checks.parser(__doc__)
    arguments.add_argument("--cases", type=int, default=2000, help="of each route")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log, document = pathlib.Path(folder, "log"), pathlib.Path(folder, "openapi.json")
        with log.open("w") as stderr:
            # A template that knows tools, in few words.
            options = ["--request-timeout", "30", "--chat-template", str(TEMPLATES / "nemotron_mini.jinja")]
            server = Server(arguments.nemotron, arguments.model, *options, stderr=stderr)
            document.write_text(json.dumps(narrowed(json.loads(server.get("/openapi.json")))))
            program = str(pathlib.Path(sys.executable).parent / "st")
            command = [program, "run", str(document), "--url", server.url, "--generation-deterministic", "--checks", CHECKS,
                       "--request-timeout", "30", "--continue-on-failure", "--no-color",
                       "--max-failures", "20", "--suppress-health-check", "all", "--warnings", "off"]
            # Wrong requests and right ones, then right ones alone.
            runs = [["--mode", "all", "--max-examples", str(arguments.cases // 10)],
                    ["--mode", "positive", "--phases", "fuzzing", "--max-examples", str(arguments.cases)]]
            environment = {**os.environ, "PYTHONUTF8": "1"}
            codes = [subprocess.run(command + run, cwd=folder, env=environment).returncode for run in runs]
            server.stop()
        lines = re.findall(r"what=\"(POST|GET) (\S+)\".*? status=(\d+)", log.read_text())
    by_route = collections.Counter((path, status) for _, path, status in lines if path != "/health")
    for (path, status), count in sorted(by_route.items()):
        print(f"{count:6} {status} {path}")
    sent = sum(by_route.values())
    taken = sum(count for (_, status), count in by_route.items() if status == "200")
    wrong = sum(count for (_, status), count in by_route.items() if status[0] == "5" or status == "499")
    print(f"{sent} requests, {100 * taken // max(sent, 1)} % taken, {wrong} failed; schemathesis ends with {codes}")
    return 0 if not any(codes) and sent >= 5000 and 10 * taken >= 3 * sent and wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
