"""JSON schemas to which answers are held: a written list and products of it. Texts and lists have bounds, so answers end."""

import itertools


def record(optional=(), **properties):
    """An object of these properties and no others."""
    required = [key for key in properties if key not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def text(most=12, **keys):
    return {"type": "string", "maxLength": most, **keys}


def array(items, least, most):
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


INTEGER = {"type": "integer", "minimum": -1000, "maximum": 1000}
NUMBERS = {
    "digit": {"type": "integer", "minimum": 0, "maximum": 9},
    "byte": {"type": "integer", "minimum": 0, "maximum": 255},
    "signed": INTEGER,
    "negative": {"type": "integer", "minimum": -99, "exclusiveMaximum": 0},
    "between": {"type": "integer", "exclusiveMinimum": 17, "exclusiveMaximum": 20},
    "one value": {"type": "integer", "minimum": 7, "maximum": 7},
    "large": {"type": "integer", "minimum": 999_999_999_990, "maximum": 1_000_000_000_010},
    "even": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 2},
    "sevens": {"type": "integer", "minimum": -50, "maximum": 50, "multipleOf": 7},
    "hundreds": {"type": "integer", "minimum": 1, "maximum": 1000, "multipleOf": 100},
    "unit": {"type": "number", "minimum": 0, "maximum": 1},
    "open unit": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "half open": {"type": "number", "minimum": -1.5, "exclusiveMaximum": 2.25},
    "narrow": {"type": "number", "minimum": 3.14, "maximum": 3.15},
    "below zero": {"type": "number", "minimum": -273.15, "maximum": -0.5},
    "quarters": {"type": "number", "minimum": 0, "maximum": 10, "multipleOf": 0.25},
    "cents": {"type": "number", "minimum": 0, "maximum": 99, "multipleOf": 0.01},
    "tenths": {"type": "number", "minimum": -1, "maximum": 1, "multipleOf": 0.1},
    "number of two bounds": {"type": "number", "minimum": 0, "exclusiveMinimum": 0, "maximum": 8, "exclusiveMaximum": 8},
    "small": {"type": "number", "minimum": 0.0001, "maximum": 0.0002},
}
TEXTS = {
    "short": text(5),
    "at least": text(12, minLength=6),
    "exact": text(4, minLength=4),
    "one letter": text(1, minLength=1),
    "empty": text(0),
    "digits": {"type": "string", "pattern": "^[0-9]{3,6}$"},
    "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}$"},
    "word": {"type": "string", "pattern": "^\\w{1,8}$"},
    "choice": {"type": "string", "pattern": "^(red|green|blue)$"},
    "colour": {"type": "string", "pattern": "^#([0-9a-f]{3}|[0-9a-f]{6})$"},
    "found within": text(10, pattern="cat"),
    "begins": text(10, pattern="^ab"),
    "ends": text(10, pattern="yz$"),
    "quotes": {"type": "string", "pattern": "^\"[a-z]{1,3}\"$"},
    "backslash": {"type": "string", "pattern": "^[a-c]\\\\[a-c]$"},
    "kana": {"type": "string", "pattern": "^[ぁ-ん]{1,5}$"},
    "no vowels": {"type": "string", "pattern": "^[^aeiou\\s]{1,6}$"},
    "pattern and length": text(6, minLength=3, pattern="^[ab]*$"),
    "line ends": {"type": "string", "pattern": "^a\\n[bc]{1,2}\\t$"},
    "version": {"type": "string", "pattern": "^v?\\d{1,2}(\\.\\d{1,2}){0,2}$"},
}
FORMATS = {name: {"type": "string", "format": name} for name in ("date", "ipv4", "ipv6", "uuid")}
FORMATS |= {name: text(most, format=name) for name, most in
            (("time", 20), ("date-time", 30), ("duration", 12), ("email", 24), ("hostname", 20), ("uri", 24))}
VALUES = {
    "enum": {"enum": ["red", "green", "blue"]},
    "unicode enum": {"enum": ["りんご", "été", "naïve", "🍎", "Ω≈ç", "שלום"]},
    "mixed enum": {"enum": [1, "1", True, None, 2.5, [1, 2], {"a": "b"}]},
    "typed enum": {"type": "string", "enum": ["a", "b", "a b"]},
    "numbers": {"type": "integer", "enum": [1, 10, 100]},
    "fractions": {"type": "number", "enum": [0.1, 0.25, -3.75]},
    "escapes": {"enum": ["\"quoted\"", "back\\slash", "line\nend", "tab\t", "\u0001", "</s>", "<extra_id_1>"]},
    "prefixes": {"enum": ["a", "ab", "abc", "abcd"]},
    "const text": {"const": "only this"},
    "const number": {"const": 42},
    "const fraction": {"const": -0.5},
    "const null": {"const": None},
    "const object": {"const": {"a": [1, {"b": None}], "ü": "ö"}},
    "const list": {"const": [[], [0], ["x"]]},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "or null": {"type": ["string", "null"], "maxLength": 6},
    "several types": {"type": ["integer", "boolean", "null"], "minimum": 0, "maximum": 99},
}
ARRAYS = {
    "empty": array({"type": "integer"}, 0, 0),
    "up to three": array({"type": "boolean"}, 0, 3),
    "exactly four": array(NUMBERS["digit"], 4, 4),
    "texts": array(text(6), 1, 3),
    "nested": array(array(NUMBERS["digit"], 1, 2), 2, 2),
    "deeper": array(array(array({"type": "null"}, 0, 1), 1, 2), 1, 2),
    "tuple": {"type": "array", "prefixItems": [NUMBERS["byte"], text(5), {"type": "boolean"}], "items": False, "minItems": 3},
    "tuple and more": {"type": "array", "prefixItems": [{"const": "x"}], "items": NUMBERS["digit"], "minItems": 1, "maxItems": 4},
    "optional tuple": {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}, {"const": 3}], "items": False},
    "records": array(record(name=text(5), on={"type": "boolean"}), 1, 3),
    "matrix": array(array(NUMBERS["unit"], 3, 3), 3, 3),
    "of enums": array(VALUES["unicode enum"], 2, 4),
}
OBJECTS = {
    "person": record(name=text(), age=NUMBERS["byte"], email=FORMATS["email"]),
    "optional": record(("b", "d"), a=NUMBERS["digit"], b=text(4), c={"type": "boolean"}, d={"type": "null"}),
    "all optional": record(("a", "b", "c"), a=NUMBERS["digit"], b=NUMBERS["digit"], c=NUMBERS["digit"]),
    "unicode keys": record(**{"名前": text(4), "größe": NUMBERS["unit"], "🍎": {"type": "boolean"}, "a b": {"type": "null"}}),
    "odd keys": record(**{"": NUMBERS["digit"], "\"": NUMBERS["digit"], "\\": NUMBERS["digit"], "\n": NUMBERS["digit"], "$ref": text(3)}),
    "nested": record(a=record(b=record(c=record(d=record(e=NUMBERS["digit"]))))),
    "no properties": {"type": "object", "additionalProperties": False},
    "map": {"type": "object", "additionalProperties": NUMBERS["digit"], "minProperties": 1, "maxProperties": 2},
    "patterns": {"type": "object", "patternProperties": {"^[a-c]$": NUMBERS["digit"]}, "additionalProperties": False, "maxProperties": 3},
    "two patterns": {"type": "object", "patternProperties": {"^n_[a-c]$": NUMBERS["digit"], "^s_[a-c]$": text(3)},
                     "additionalProperties": False, "minProperties": 1, "maxProperties": 2},
    "properties and patterns": {"type": "object", "properties": {"id": NUMBERS["byte"]}, "required": ["id"],
                                "patternProperties": {"^x-[a-z]{1,3}$": {"type": "boolean"}}, "additionalProperties": False,
                                "maxProperties": 3},
    "properties and more": {"type": "object", "properties": {"a": NUMBERS["digit"]}, "required": ["a"],
                            "additionalProperties": {"type": "boolean"}, "maxProperties": 3},
    "required without a schema": {"type": "object", "required": ["a", "b"], "properties": {"b": NUMBERS["digit"]},
                                  "additionalProperties": NUMBERS["signed"], "maxProperties": 2},
    "length of keys": {"type": "object", "patternProperties": {"^.{1,4}$": NUMBERS["digit"]}, "additionalProperties": False,
                       "maxProperties": 2},
    "false property": {"type": "object", "properties": {"a": NUMBERS["digit"], "b": False}, "required": ["a"], "additionalProperties": False},
    "annotations": {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/s", "title": "T",
                    "description": "D", "$comment": "C", "examples": [1], "default": 1, **NUMBERS["digit"]},
}
TREE = record(("left", "right"), value=NUMBERS["digit"], left={"$ref": "#/$defs/leaf"}, right={"$ref": "#/$defs/leaf"})
JOINED = {
    "anyOf": {"anyOf": [NUMBERS["digit"], text(5), {"type": "null"}]},
    "anyOf of records": {"anyOf": [record(cat=text(4)), record(dog=NUMBERS["digit"])]},
    "anyOf beside a type": {"type": "integer", "anyOf": [{"minimum": 0, "maximum": 5}, {"minimum": 90, "maximum": 95}]},
    "anyOf with common keys": {"anyOf": [record(kind={"const": "a"}, x=NUMBERS["digit"]), record(kind={"const": "b"}, y=text(4))]},
    "oneOf of types": {"oneOf": [NUMBERS["digit"], {"type": "boolean"}, text(4)]},
    "oneOf told by a key": {"oneOf": [record(kind={"const": "circle"}, r=NUMBERS["unit"]), record(kind={"const": "box"}, w=NUMBERS["digit"])]},
    "oneOf of texts": {"oneOf": [{"const": "north"}, {"const": "south"}]},
    "allOf of bounds": {"allOf": [{"type": "integer", "minimum": 3}, {"type": "integer", "maximum": 12}]},
    "allOf of multiples": {"type": "integer", "minimum": 0, "maximum": 100, "allOf": [{"multipleOf": 4}, {"multipleOf": 6}]},
    "allOf of patterns": text(8, allOf=[{"pattern": "a"}, {"pattern": "b"}]),
    "allOf of records": {"allOf": [{"type": "object", "properties": {"a": NUMBERS["digit"]}, "required": ["a"]},
                                   {"type": "object", "properties": {"b": text(3)}, "required": ["b"], "additionalProperties": True}],
                         "maxProperties": 2},
    "allOf with a reference": {"$defs": {"base": {"type": "object", "properties": {"id": NUMBERS["byte"]}, "required": ["id"]}},
                               "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"tag": text(4)}, "required": ["tag"]}], "maxProperties": 2},
    "definitions": {"$defs": {"point": record(x=INTEGER, y=INTEGER)}, **record(a={"$ref": "#/$defs/point"}, b={"$ref": "#/$defs/point"})},
    "old definitions": {"definitions": {"n": NUMBERS["digit"]}, **array({"$ref": "#/definitions/n"}, 2, 3)},
    "reference to a property": record(a=NUMBERS["byte"], b={"$ref": "#/properties/a"}),
    "reference with a bound": {"$defs": {"n": NUMBERS["byte"]}, "$ref": "#/$defs/n", "maximum": 20},
    "reference to a reference": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/c"}, "c": NUMBERS["digit"]}, "$ref": "#/$defs/a"},
    "tree of two levels": {"$defs": {"leaf": record(value=NUMBERS["digit"])}, **TREE},
    "recursive list": {"$defs": {"node": record(value={"enum": [0, 1]}, next={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]})},
                       "$ref": "#/$defs/node"},
    "recursive tree": {"type": "object", "properties": {"n": {"enum": [0, 1]}, "of": array({"$ref": "#"}, 0, 1)},
                       "required": ["n"], "additionalProperties": False},
    "recursive arrays": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1},
    "two that call each other": {"$defs": {"a": record(("b",), b={"$ref": "#/$defs/b"}), "b": record(("a",), a={"$ref": "#/$defs/a"})},
                                 "$ref": "#/$defs/a"},
    "reference with escapes": {"$defs": {"a/b~c d": NUMBERS["digit"]}, "$ref": "#/$defs/a~1b~0c%20d"},
}
LONG = "What stands here is told to people, at some length, and says nothing of the form. " * 5
# Applications, as they are met.
WHOLE = {
    "invoice": record(
        number={"type": "string", "pattern": "^INV-\\d{4}$"}, date=FORMATS["date"],
        lines=array(record(what=text(8), amount=NUMBERS["byte"], price=NUMBERS["quarters"]), 1, 2),
        paid={"type": "boolean"}, note={"anyOf": [text(6), {"type": "null"}]}),
    "event": record(("where",), what=text(10), when=FORMATS["date-time"], where=record(lat=NUMBERS["unit"], lon=NUMBERS["unit"])),
    "steps of pydantic": {
        "$defs": {"Step": {"title": "Step", **record(explanation=text(10), output=text(6))}}, "title": "Reasoning",
        **record(steps=array({"$ref": "#/$defs/Step"}, 1, 2), final_answer=text(6))},
    "sentiment": record(sentiment={"enum": ["positive", "negative", "neutral"]}, confidence=NUMBERS["unit"]),
    "interface": {"$defs": {"element": record(type={"enum": ["div", "button"]}, children=array({"$ref": "#/$defs/element"}, 0, 1))},
                  "$ref": "#/$defs/element"},
    "contact": record(("phone", "web"), email=FORMATS["email"], phone={"type": "string", "pattern": "^\\+[1-9]\\d{5,9}$"},
                      web=FORMATS["hostname"]),
    "settings": record(mode={"enum": ["fast", "slow"]}, threads=NUMBERS["digit"], limits={
        "type": "object", "patternProperties": {"^[a-z]{1,8}$": NUMBERS["byte"]}, "additionalProperties": False, "maxProperties": 2}),
    "long descriptions": record(**{key: {**NUMBERS["digit"], "description": LONG} for key in "abc"}),
    "many values": {"enum": [f"item {number}" for number in range(500)]},
    "many properties": record(**{f"property_{number}": NUMBERS["digit"] for number in range(40)}),
    "call": record(name={"enum": ["weather", "time"]}, arguments={"anyOf": [record(town=text(8)), record(zone=text(5))]}),
}
PARTS = {"number": NUMBERS, "text": TEXTS, "format": FORMATS, "value": VALUES}


def schemas():
    """All of them, by name."""
    found = {}
    for kind, of in (PARTS | {"array": ARRAYS, "object": OBJECTS, "joined": JOINED, "whole": WHOLE}).items():
        found |= {f"{kind}: {name}": schema for name, schema in of.items()}
    parts = [(f"{kind} {name}", schema) for kind, of in PARTS.items() for name, schema in of.items()]
    # Each part within an object or a list, beside another one.
    for place, ((name, one), (other_name, other)) in enumerate(zip(parts, parts[7:] + parts[:7])):
        schema = (record(("b",), a=one, b=other), array({"anyOf": [one, other]}, 1, 2))[place % 2]
        found[f"product: {name}, {other_name}"] = schema
    for (name, one), (other_name, other) in itertools.product(list(ARRAYS.items())[1:4], list(JOINED.items())[:8]):
        if name != "texts" and "allOf" not in other_name:
            found[f"product: {name}, {other_name}"] = record(("ü",), **{"ü": one, "x": other})
    return found
