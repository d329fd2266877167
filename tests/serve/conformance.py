"""What published tests of conformance say of `nemotron serve`: llm-comply, for three APIs, and compatcanary.

Usage: python conformance.py --nemotron PATH --model DIR [--compatcanary PATH]

Prints a line for each check that fails, with the reason. The exit code is 1 if one fails that has none here, or one that has a reason
passes: docs/serving.md lists them.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import checks
import talker
from clients import TEMPLATES, Server

IMAGES = "the models read text alone"
NO_MODEL = "a request without a model means the one that there is"

# Checks that fail, and why.
REASONS = {
    "openai-chat": {"chat-image-input": IMAGES, "chat-error-handling": NO_MODEL},
    "open-responses": {
        "image-input": IMAGES,
        "error-handling": NO_MODEL,
        "streaming-response": "events of reasoning have OpenAI's names, response.reasoning_text.*",
        "streaming-usage": "events of reasoning have OpenAI's names, response.reasoning_text.*",
    },
    "anthropic": {"anth-image-input": IMAGES},
    "compatcanary": {},
}

# Its last words end a call too, where one is demanded.
SAYS = ["I think.\n</think>\n\n", "Hello", " there,", " friend.", "\n</parameter>\n</function>\n</tool_call>"]


def llm_comply(server, form):
    """The names of the checks that pass and of those that fail; those of models by their names are left out."""
    program = pathlib.Path(sys.executable).with_name("llm-comply")
    command = [program, "--base-url", server.url + "/v1", "--api-key", "none", "--model", server.name, "--format", form, "--json"]
    results = json.loads(subprocess.run(command, stdout=subprocess.PIPE).stdout)["results"]
    return [{result["id"] for result in results if result["status"] == status} for status in ("passed", "failed")]


def compatcanary(server, program):
    """The same of compatcanary."""
    command = [program, "scan", "--base-url", server.url + "/v1", "--model", server.name, "--format", "json", "--fail-on", "never"]
    checks = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["results"]
    return [{check["id"] for check in checks if check["status"] == status} for status in ("pass", "fail")]


def main():
    arguments = checks.parser(__doc__)
    arguments.add_argument("--compatcanary")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        talker.write(arguments.model, folder, (TEMPLATES / "nemotron_3_nano.jinja").read_text(), SAYS)
        server = Server(arguments.nemotron, folder)
        try:
            found = {form: llm_comply(server, form) for form in ("openai-chat", "open-responses", "anthropic")}
            if arguments.compatcanary:
                found["compatcanary"] = compatcanary(server, arguments.compatcanary)
        finally:
            server.stop()
    wrong = 0
    for name, (passed, failed) in found.items():
        reasons = REASONS[name]
        print(f"{name}: {len(passed)} passed, {len(failed)} failed")
        for check in sorted(failed):
            print(f"  {check}: {reasons.get(check, 'FAILED, and there is no reason for it')}")
        for check in sorted(reasons.keys() - failed):
            print(f"  {check} does not fail: it needs no reason any more")
        wrong += len(failed ^ reasons.keys()) + (not passed)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
