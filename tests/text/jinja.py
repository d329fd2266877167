"""What Python makes of Jinja, for the text tests: `pip install transformers jinja2`, then `python tests/text/jinja.py`.

Renders every template below in the environment that transformers compiles chat templates in, with the one context
CONTEXT, and records the text, or that it raised. jinja_rows.py has the expressions.
"""

import copy
import json
from pathlib import Path

import jinja2
import transformers
from jinja_rows import CONTEXT, EXPRESSIONS, TEMPLATES
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).resolve().parent


def render(template):
    try:
        return {"text": _compile_jinja_template(template).render(**copy.deepcopy(CONTEXT))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def main():
    templates = ["{{ " + expression + " }}" for expression in EXPRESSIONS] + TEMPLATES
    rows = [{"template": template, **render(template)} for template in dict.fromkeys(templates)]
    rows = [row for row in rows if " at 0x" not in row.get("text", "")]
    versions = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    out = {"versions": versions, "context": CONTEXT, "rows": rows}
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in out.pop("rows"))
    head = json.dumps(out, ensure_ascii=False)[:-1]
    (HERE / "jinja.json").write_text(f'{head}, "rows": [\n{lines}\n]}}\n')
    print(len(rows), "rows,", sum("error" in row for row in rows), "raise")


main()
