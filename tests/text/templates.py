"""Snapshots of transformers' chat templates for the text tests: `pip install transformers jinja2`, then `python tests/text/templates.py`.

Renders every conversation below with every template of tests/text/templates and with the demo model's, as
`apply_chat_template(tokenize=False)` does, and records the text, or that the template raised.
"""

import json
from pathlib import Path

import jinja2
import transformers
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).resolve().parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": " The weather of a town, in °C & mm. ",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "Its name", "pattern": "^\\w+$"},
                "days": {"type": "integer", "enum": [1, 3, 7], "default": 1, "nullable": True},
                "unit": {"type": ["string", "null"], "limits": {"low": -273.15, "high": 100}},
            },
            "required": ["town"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Kyōto", "days": 3, "more": [1, {"a": None}]}}}
TALK = [user("Hello"), assistant("Hi there!\n"), user("  And now?  ")]
THINKING = [
    system("Be brief."),
    user("1 + 1?"),
    assistant("<think>\nEasy.\n</think>\n2"),
    user("Sure?"),
    assistant("Yes.", reasoning_content="I am."),
    user("Really?"),
]
TOOLS = [
    user("Weather in Kyōto?"),
    assistant("<think>\nI ask.\n</think>\nA moment.", tool_calls=[CALL]),
    {"role": "tool", "content": "{\"rain\": 3}"},
    {"role": "tool", "content": "sunny"},
    assistant("Sunny with 3 mm."),
    user("And tomorrow?"),
    assistant("", tool_calls=[CALL, CALL]),
    {"role": "tool", "content": "fog"},
]

CONTEXTS = [
    {"messages": [user("Hello")], "add_generation_prompt": True},
    {"messages": [user("Hello")], "add_generation_prompt": False},
    {"messages": [system("You are a friendly storyteller."), user("日本語で 🦊")], "add_generation_prompt": True},
    {"messages": [system(""), user("")], "add_generation_prompt": True},
    {"messages": TALK, "add_generation_prompt": True},
    {"messages": THINKING, "add_generation_prompt": True},
    {"messages": THINKING, "add_generation_prompt": True, "enable_thinking": False,
     "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": THINKING + [assistant("<think></think>Yes")], "add_generation_prompt": False,
     "chat_template_kwargs": {"truncate_history_thinking": False, "reasoning_budget": 100}},
    {"messages": TOOLS, "tools": [TOOL, TOOL["function"]], "add_generation_prompt": True},
    {"messages": [system("Be brief.")] + TOOLS, "tools": [TOOL], "add_generation_prompt": True},
    {"messages": [user("Where?")], "contexts": ["Kyōto", " Nara "], "tools": [TOOL], "add_generation_prompt": True},
    {"messages": [user("/help"), {"role": "skip", "content": ""}] + TALK * 2, "add_generation_prompt": True},
    {"messages": [], "add_generation_prompt": True},
    {"messages": [system(" Be brief. /no_think "), user("Hello")], "add_generation_prompt": True},
    {"messages": [system("/think"), user("a /no_think"), assistant("<think>b</think> c "), user("d")], "tools": [TOOL],
     "add_generation_prompt": True},
    {"messages": THINKING, "add_generation_prompt": True, "truncate_history_thinking": False, "medium_effort": True},
    {"messages": TOOLS + [assistant(" ok ", tool_calls=[CALL["function"]])], "add_generation_prompt": False},
    {"messages": TALK + [assistant("I begin")], "add_generation_prompt": True},
]


def render(template, context):
    context = dict(context, **TOKENS)
    messages = context.pop("messages")
    try:
        texts, _ = render_jinja_template(conversations=[messages], chat_template=template, **context)
        return {"text": texts[0]}
    except (jinja2.exceptions.TemplateError, TypeError) as error:
        return {"error": str(error)}


def main():
    templates = {path.stem: path.read_text() for path in sorted((HERE / "templates").glob("*.jinja"))}
    storyteller = HERE.parent.parent / "models/storyteller/tokenizer_config.json"
    templates["storyteller"] = json.loads(storyteller.read_text())["chat_template"]
    rows = [
        {"template": name, "context": context, **render(template, context)}
        for name, template in templates.items()
        for context in CONTEXTS
    ]
    versions = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    out = {"versions": versions, "rows": rows}
    (HERE / "templates.json").write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")


main()
