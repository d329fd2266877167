"""The page's Markdown against markdown-it, an implementation of CommonMark and GitHub's tables."""

import re

import markdown_it

from clients import equal
from page_browser import Page

TEXTS = [
    "a *b* **c** ***d*** _e_ __f__ ~~g~~",
    "*a **b** c* and **a *b***",
    "snake_case_name, 2 * 3 * 4, a* b, _ c _, 5*",
    "**bold with `**` in code** and `*code*` and `` a`b `` and `open",
    "\\*no\\* \\`code\\` \\[x\\](y)",
    "[a *b*](https://example.org/x_(y) \"t\") [c](http://example.org/) <https://example.org/d_e_f>",
    "[a] [b](c d) [c(d) [e",
    "one\ntwo <b>three</b> & four",
    "# One\n\n## Two ##\n\n###### Six\n\ntext\n***\ntext",
    "- a\n- b\n  - c\n\n    d\n- e\n\ntext",
    "3. a\n4. b\n   ```py\n   x = 1\n     y\n   ```\n5. c",
    "- a\n\n1. b",
    "> a\n> > b\n> - c\n\nd",
    "```\n<a>\n~~~\n``\n```\n~~~~ x\n```\n~~~~\n`````md\n```py\n```\n`````\n```\nopen",
    "| a | b |\n|---|:-:|\n| `c` | d \\| e |\n| *f* | |\n\ntext",
    "a | b\nc | d",
]


def markdown_means_what_commonmark_says(_page, server, _arguments):
    with Page(server.url) as page:
        check(page)


def check(page):
    rules = markdown_it.MarkdownIt("js-default", {"html": False, "breaks": True, "linkify": False})
    for text in TEXTS:
        page.show(text)
        got = page.until(lambda: page.script("return document.querySelector('article.assistant .text').innerHTML"))
        equal((text, plain(got)), (text, plain(shifted(rules.render(text)))))


def shifted(html):
    """The page's headings begin at the third level."""
    return re.sub(r"(</?h)(\d)", lambda tag: tag[1] + str(min(6, int(tag[2]) + 2)), html)


def plain(html):
    """HTML without what the page adds or leaves to its style: captions of code, paragraphs in lists, classes, lines between tags."""
    html = re.sub(r"<figcaption>.*?</figcaption>|</?(figure|span|div)[^>]*>", "", html)
    html = re.sub(r"<(\w+)[^>]*?( href=\"[^\"]*\"| start=\"[^\"]*\")?[^>]*>", lambda tag: f"<{tag[1]}{tag[2] or ''}>", html)
    html = re.sub(r"<s>(.*?)</s>", r"<del>\1</del>", html).replace(' start="1"', "").replace("&quot;", '"')
    html = re.sub(r"\s*(</?(?:p|[uo]l|li|pre|h\d|hr|br|blockquote|table|thead|tbody|t[rdh])\b[^>]*>)\s*", r"\1", html)
    html = re.sub(r"(<li>)<p>|</p>(?=</li>|<[uo]l|<pre)", r"\1", html)
    return html.replace("\n</code>", "</code>")
