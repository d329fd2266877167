"""Expressions, choices and grammars to which answers are held, and what Python says of the answers."""

import re

# Each is both Rust's and Python's; where they write the same thing in two ways there are both.
EXPRESSIONS = [
    "abc", "a", "[abc]{3}", "[a-z]+", "[A-Z][a-z]{2,8}", "\\d{4}", "\\d{3}-\\d{4}", "[0-9a-f]{8}", "a{0,3}b", "(ab){1,4}", "a?b?c",
    "x{5}", "(yes|no)", "yes|no|maybe", "(a|b|c){2,5}", "(cat|dog)s?", "(red|green) (box|ball)", "a|ab|abc|abcd", "(a|ab)(c|bcd)",
    "(one|two|three)(, (one|two|three)){0,3}", "((a|b)(c|d)){1,3}", "(?:non|capturing) group", "(?P<year>\\d{4})-(?P<month>0[1-9]|1[0-2])",
    "[^a-z]{1,5}", "[^\\n]{0,20}", ".{1,12}", ".{0,3}end", "[\\w.]{1,10}", "\\w{2,6}", "\\s{1,3}x", "\\S{1,6}", "\\D{1,4}", "\\W{1,3}",
    "[[:alpha:]]{1,5}|[a-zA-Z]{1,5}", "\\.", "\\*\\+\\?", "\\(\\[\\{\\}\\]\\)", "a\\|b", "\\\\d", "\\^start", "price: \\$\\d{1,3}", "\\$",
    "a/b/c", "/", "//[a-z]{1,4}/", "\"[a-z]{0,5}\"", "'[a-z]{1,5}'", "`[a-z]{1,4}`", "\\t[a-z]{2}\\n", "line\\nend", "\\x41\\x42", "\\u00e9{2}",
    "é{1,3}", "[à-ÿ]{2,5}", "[ぁ-ん]{1,6}", "[一-龥]{1,4}", "(りんご|みかん)", "🍎{1,2}", "[🍎🍌🍒]{2}", "[α-ω]{3}", "ñandú|año", "日本(語)?",
    "^abc", "abc$", "^abc$", "^[a-z]{3}$", "^(a|b)$", "^\\d{2}:\\d{2}$", "(?i)hello", "(?i:yes|no)!", "(?s).{1,6}", "a.c", "[.]{2}",
    "[-a]{2}", "[a-]{2}", "[\\]a]{2}", "[\\-\\[]{1,3}", "[*+?]{1,3}", "[^\\]]{1,4}", "[\\d\\s]{3}", "[\\\\/]{2}", " ", "  leading", " ?word",
    "(Mr|Ms)\\. [A-Z][a-z]{1,7}", "\\d+(\\.\\d{1,2})?", "-?(0|[1-9]\\d{0,4})", "#[0-9a-fA-F]{6}", "\\+\\d{1,3} \\d{4,8}",
    "[a-z0-9]{1,8}@[a-z]{1,6}\\.(com|org)", "(25[0-5]|2[0-4]\\d|1?\\d?\\d)(\\.(25[0-5]|2[0-4]\\d|1?\\d?\\d)){3}",
    "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])", "(#{1,3}) [A-Za-z ]{1,12}", "- [a-z]{1,6}(\\n- [a-z]{1,6}){1,3}",
    "<b>[a-z]{1,6}</b>", "\\{\"a\": \\d\\}", "f\\(([a-z](, [a-z]){0,2})?\\)", "((((a))))", "(a(b(c(d)?)?)?)?e", "(aa|aaa){1,4}",
    "[a-c]{2}[d-f]{2}[g-i]{2}", "(0|1){8}", "(GET|POST|PUT) /[a-z]{1,8}(\\?[a-z]=\\d)? HTTP/1\\.[01]", "\\p{Lu}{2}|[A-Z]{2}",
    "The answer is (yes|no)\\.", "[A-Z]{3}(-[A-Z]{3}){2}", "v\\d\\.\\d\\.\\d(-(alpha|beta|rc)\\.\\d)?", "(a*)b", "(a+)+b", "()a", "(|a)b",
    "a{2,}b", "[ -~]{1,10}", "\\u{1F34E}", "\\p{Greek}{2,4}", "[\\p{Hiragana}ー]{2,5}", "[a-z&&[^aeiou]]{3}", "\\d{2}\\z", "\\A\\d{2}",
    "a+?b", "a{1,3}?b", "(?x) a b c ", "(?:a|b)|c",
]
# How Python writes what it writes otherwise.
PYTHON = {
    "[[:alpha:]]{1,5}|[a-zA-Z]{1,5}": "[a-zA-Z]{1,5}", "\\p{Lu}{2}|[A-Z]{2}": "[^\\W\\d_]{2}", "\\u{1F34E}": "🍎",
    "\\p{Greek}{2,4}": "[\u0342-\u1fff\u2126\uab65\U00010140-\U0001d245]{2,4}", "[\\p{Hiragana}ー]{2,5}": "[ーぁ-ゟ\U0001b000-\U0001f200]{2,5}",
    "[a-z&&[^aeiou]]{3}": "[b-df-hj-np-tv-z]{3}", "\\d{2}\\z": "\\d{2}", "[\\w.]{1,10}": "[\\w.\u0300-\U000e01ef]{1,10}",
    "\\w{2,6}": "[\\w\u0300-\U000e01ef]{2,6}",
}
# What is no expression of Rust's, or has what would need to look around.
REFUSED = [
    "(a)\\1", "(?=a)b", "(?!a)b", "(?<=a)b", "(", "[a", "a{2,1}", "*a", "\\bword\\b", "a{99999999999}", "\\q", "[z-a]", "a$b", "", "[^\\s\\S]",
]
CHOICES = [
    ["yes", "no"], ["a", "ab", "abc"], ["positive", "negative", "neutral"], ["りんご", "みかん", "🍎"], ["one", "one two", "one two three"],
    [" leading", "trailing ", "  "], ["\"quoted\"", "back\\slash", "line\nend"], ["</s>", "<s>", "<extra_id_1>"], ["a/b", "/c/", "%d"],
    [f"item {number}" for number in range(500)], ["only"], ["\u0000", "\u001f\u007f"], ["é", "e\u0301"],
]


def python(expression):
    return re.compile(PYTHON.get(expression, expression))


class Arithmetic:
    """Whether a text is a sum of products of numbers and sums in brackets."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def is_whole(self):
        return self.sum() and self.at == len(self.text)

    def takes(self, letters):
        found = self.text[self.at : self.at + 1]
        self.at += bool(found) and found in letters
        return bool(found) and found in letters

    def sum(self):
        while self.product():
            if not self.takes("+-"):
                return True
        return False

    def product(self):
        while self.factor():
            if not self.takes("*/"):
                return True
        return False

    def factor(self):
        if self.takes("("):
            return self.sum() and self.takes(")")
        begin = self.at
        while self.takes("0123456789"):
            pass
        return 1 <= self.at - begin <= 3


def is_balanced(text):
    depth = 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 9)
        if not 0 <= depth < 9:
            return False
    return depth == 0 and text != ""


def is_table(text):
    rows = text.split("\n")
    return 1 <= len(rows) <= 3 and all(re.fullmatch("[a-z]{1,5},[0-9]{1,3}", row) for row in rows)


# A grammar, and whether a text is of it.
GRAMMARS = {
    "arithmetic": (
        "start: sum\nsum: product ((\"+\" | \"-\") product)*\nproduct: factor ((\"*\" | \"/\") factor)*\n"
        "factor: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]{1,3}/\n", lambda text: Arithmetic(text).is_whole()),
    "brackets": ("start: pair\npair: \"(\" pair? \")\"\n", is_balanced),
    "table": ("start: row (NEWLINE row){0,2}\nrow: NAME \",\" COUNT\nNAME: /[a-z]{1,5}/\nCOUNT: /[0-9]{1,3}/\nNEWLINE: \"\\n\"\n", is_table),
    "ignored spaces": ("start: \"let\" NAME \"=\" NUMBER\nNAME: /[a-z]{1,4}/\nNUMBER: /[0-9]{1,3}/\n%ignore / {1,2}/\n",
                       lambda text: re.fullmatch(" *let *[a-z]{1,4} *= *[0-9]{1,3} *", text)),
    "JSON within": ("start: \"result = \" value \";\"\nvalue: %json {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 99}\n",
                    lambda text: re.fullmatch("result = [0-9]{1,2};", text)),
    "optional and case": ("start: \"please \"? VERB \" \" NOUN\nVERB: /open|close/i\nNOUN: \"door\" | \"window\"\n",
                          lambda text: re.fullmatch("(please )?(?i:open|close) (door|window)", text)),
    "same letters": ("start: a\na: \"a\" a \"b\" | \"ab\"\n", lambda text: text == "a" * (len(text) // 2) + "b" * (len(text) // 2) != ""),
}
