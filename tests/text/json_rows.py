"""Ten thousand random values as Python writes them, for the text tests: `python tests/text/json_rows.py`.

A row is a value, the number of an expression of EXPRESSIONS, and the FNV-1a digest of what Python makes of both.
"""

import json
import random
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
STYLES = [{}, {"indent": 2}, {"ensure_ascii": True}, {"separators": (",", ":")}, {"sort_keys": True, "indent": 1}]
EXPRESSIONS = [
    "v|tojson", "v|tojson(indent=2)", "v|tojson(ensure_ascii=true)", "v|tojson(separators=(',', ':'))",
    "v|tojson(sort_keys=true, indent=1)", "v|string",
]
LETTERS = "ab \"'\\/\n\t\r\b\f\x00\x1f\x7f\x80\xa0é<&>{}ß日本\u2028\u200b\ufeff🦊\U000e0001"


def text(source):
    return "".join(source.choice(LETTERS) for _ in range(source.randrange(6)))


def number(source):
    match source.randrange(6):
        case 0:
            return source.randrange(-1000, 1000)
        case 1:
            return source.randrange(-(2**63), 2**64)
        case 2:
            return round(source.uniform(-1000, 1000), source.randrange(6))
        case 3:
            return float(source.randrange(-(10**6), 10**6)) * 10.0 ** source.randrange(-12, 20)
        case 4:
            return source.choice([0.0, -0.0, 1e16, 9999999999999998.0, 1e-4, 9.999e-5, 5e-324, 1.7976931348623157e308])
        case _:
            value = struct.unpack("<d", source.randbytes(8))[0]
            return value if value == value and abs(value) != float("inf") else 0.5


def value(source, depth):
    match source.randrange(6 if depth else 4):
        case 0 | 1:
            return number(source)
        case 2:
            return text(source)
        case 3:
            return source.choice([None, True, False])
        case 4:
            return [value(source, depth - 1) for _ in range(source.randrange(4))]
        case _:
            return {text(source): value(source, depth - 1) for _ in range(source.randrange(4))}


def digest(text):
    result = 0x811C9DC5
    for byte in text.encode():
        result = (result ^ byte) * 0x01000193 & 0xFFFFFFFF
    return result


def main():
    source = random.Random(7)
    rows = []
    for _ in range(10_000):
        drawn, expression = value(source, 3), source.randrange(len(EXPRESSIONS))
        if expression < len(STYLES):
            printed = json.dumps(drawn, **{"ensure_ascii": False, **STYLES[expression]})
        else:
            printed = str(drawn)
        rows.append([drawn, expression, digest(printed)])
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    out = f'{{"expressions": {json.dumps(EXPRESSIONS)}, "rows": [\n{lines}\n]}}\n'
    (HERE / "json_rows.json").write_text(out)


main()
