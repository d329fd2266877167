"""Whether answers are what they are held to, and how many: for structured.py."""

import collections
import concurrent.futures
import decimal
import json

import jsonschema

STREAMS = 8
# Greedy, as the model likes, and so hot that nearly every token comes that may.
SAMPLING = [{"temperature": 0}, {"temperature": 1, "seed": 1}, {"temperature": 1, "seed": 2}, {"temperature": 4, "seed": 3}]


def collected(stream, text_of):
    """The texts and reasons of streamed choices."""
    texts, reasons = collections.defaultdict(str), {}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += text_of(choice) or ""
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    return [(texts[index], reasons[index]) for index in sorted(reasons)]


def all_of(ask, cases):
    """What `ask` says of each case, many at a time."""
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        return list(pool.map(lambda case: ask(*case), cases))


class Unlike(Exception):
    """Answers that are not what they should be."""


def judged(found, most_cut):
    """`found` has ((name, how), answers, fault); raises what is wrong, or gives the figures."""
    faults = [f"{name}, {how}: {fault}" for (name, how), _, fault in found if fault]
    answers = sum(len(answers) for _, answers, _ in found)
    cut = [f"{name}, {how}" for (name, how), answers, _ in found for _, reason in answers if reason == "length"]
    distinct = len({(name, text) for (name, _), answers, _ in found for text, _ in answers})
    told = f"{answers} answers, {distinct} of them distinct, {len(cut)} cut off"
    if faults or len(cut) > most_cut * answers:
        raise Unlike("\n  ".join([told, f"cut off: {sorted(set(cut))[:9]}", f"{len(faults)} faults:", *faults[:40]]))
    return told


def held(ask, is_right, whole="stop"):
    """The answers of a request, and what is wrong with it or with one of them; `whole` is the reason of those that were not cut off."""
    try:
        answers = ask()
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"
    for text, reason in answers:
        if reason not in (whole, "length"):
            return answers, f"finish_reason {reason!r}: {text[:200]}"
        if reason == whole:
            fault = is_right(text)
            if fault:
                return answers, f"{text[:300]!r}: {fault}"
    return answers, None


def by_jsonschema(schema):
    """What jsonschema says is wrong with a text. Fractions are decimal, for 0.7 is a multiple of 0.1 and in binary is none."""
    exact = json.loads(json.dumps(schema), parse_float=decimal.Decimal)
    validator = jsonschema.Draft202012Validator(exact, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    validator.check_schema(schema)

    def fault(text):
        try:
            validator.validate(json.loads(text, parse_float=decimal.Decimal))
        except (ValueError, jsonschema.ValidationError) as error:
            return str(getattr(error, "message", error))
        return None

    return fault
