"""What a model may say to harm its reader, and that the page shows it as text."""

import time

from clients import equal
from page_browser import Talker, Page, look, pieces_of

# Each line must be seen as text, or as a link to the web.
HOSTILE = """# Title <script>pwned = 1</script>

<script>pwned = 2</script> <img src=x onerror="pwned = 3"> <svg onload="pwned = 4"> &lt;b&gt;
<style>body { display: none }</style><iframe srcdoc="<script>parent.pwned = 5</script>"></iframe>

[script](javascript:pwned=6) [data](data:text/html,<script>pwned=7</script>) [file](file:///etc/passwd) [tab](java\tscript:pwned=8)
![image](http://127.0.0.1:1/pixel.png) [good **one**](https://example.org/a_(b) "title") and <https://example.org/c>.

1. first `<b>code</b>`
   - nested *em*
2. second

> quote with ***both***

| a | b |
|---|---|
| `x` | <b>y</b> |

````markdown
```html
<script>pwned = 9</script>
```
````

```js" onload="pwned=10
never closed </code></pre><script>pwned = 11</script>
"""

# Seconds for a page with 100 000 hostile characters. Laying out as many code spans takes Chromium seconds; quadratic time would be minutes.
LONGEST = 20


def a_hostile_answer_is_text(_page, _server, arguments):
    talks = Talker(arguments, pieces_of(HOSTILE), "nemotron_mini")
    try:
        with Page(talks.url) as page:
            page.send("Hello")
            check_hostile(page)
            page.driver.refresh()
            page.until(lambda: page.texts("assistant"))
            check_hostile(page)
            look(page, arguments, "hostile")
    finally:
        talks.stop()


def check_hostile(page):
    equal(page.script("return [window.pwned, window.violations]"), [None, None])
    equal(page.script("return document.querySelectorAll('article :is(script, img, svg, style, iframe, b, object, form, input)').length"), 0)
    shown = page.script("return document.querySelector('article.assistant .text').textContent")
    for line in ["Title <script>pwned = 1</script>", '<img src=x onerror="pwned = 3">', "&lt;b&gt;", "[script](javascript:pwned=6)",
                 "[file](file:///etc/passwd)", "body { display: none }", "</code></pre><script>pwned = 11</script>"]:
        assert line in shown, f"{line} is not in {shown}"
    links = page.script("return [...document.querySelectorAll('article a')].map((a) => [a.textContent, a.href, a.rel])")
    rel = "noopener noreferrer nofollow"
    equal(links, [["image", "http://127.0.0.1:1/pixel.png", rel], ["good one", "https://example.org/a_(b)", rel],
                  ["https://example.org/c", "https://example.org/c", rel]])
    equal([each.text for each in page.all("article pre")][0], "```html\n<script>pwned = 9</script>\n```")
    counts = {name: len(page.all(f"article.assistant .text {name}")) for name in ["ol", "ol ul", "blockquote em strong", "td", "figure", "a strong"]}
    equal(counts, {"ol": 1, "ol ul": 1, "blockquote em strong": 1, "td": 2, "figure": 2, "a strong": 1})


def long_hostile_texts_take_no_time(_page, server, _arguments):
    """Texts on which a careless pattern takes quadratic time or overflows the stack, drawn as a kept conversation."""
    size = 100_000
    units = ["[", "*a ", "*a** ", "_a __b ", "`", "``` ", "`*", ">", "- ", "|", "\n", "\\*", "[a](", "![", "<https://", "\t", "# ", "~~",
             "[[a]", "(http://a(", "1. \n", "```\n", "|-"]
    with Page(server.url) as page:
        for unit in units:
            start = time.monotonic()
            page.show((unit * (size // len(unit)))[:size] + "end")
            page.until(lambda: page.script("return document.querySelector('article.assistant .text').textContent.includes('end')"))
            took = time.monotonic() - start
            assert took < LONGEST, f"{unit!r}: {took:.1f} s"
