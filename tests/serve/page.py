"""The page at `/` in a browser: what a user does, what a hostile answer must not do, and axe-core's rules of accessibility.

Usage: python page.py --nemotron PATH --model DIR --axe AXE.js [--screenshots DIR]

Needs Chromium and its driver (Debian: chromium, chromium-driver). Prints a line for each check; the exit code is 1 if one failed.
"""

import json
import pathlib
import sys
import tempfile

from selenium.webdriver.common.keys import Keys

import checks
from clients import CALL, WEATHER, Server, equal
from page_browser import Page, Talker, look
from page_hostile import a_hostile_answer_is_text, long_hostile_texts_take_no_time
from page_markdown import markdown_means_what_commonmark_says

QUESTION = "Tell me a story."


def a_question_is_answered_as_by_the_api(page, server, _):
    page.until(lambda: server.name in page.one("#model").text)
    want = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]})[1]
    page.send(QUESTION)
    equal(page.script("return document.querySelector('article.assistant .text').textContent").split(),
          want["choices"][0]["message"]["content"].split())
    meter = page.one("article.assistant .meter").text
    assert meter.startswith(f"{want['usage']['completion_tokens']} tokens · ") and "tokens/s" in meter, meter
    assert "The model says: " + page.texts("assistant")[0][:20] in page.one("#said").get_property("textContent")
    equal(page.script("return document.activeElement.id"), "text")


def a_reload_keeps_conversation_and_draft(page, server, _):
    page.one("#text").send_keys("half a thought")
    before = page.texts("user") + page.texts("assistant")
    page.driver.refresh()
    page.until(lambda: page.texts("assistant"))
    equal(page.texts("user") + page.texts("assistant"), before)
    equal(page.one("#text").get_property("value"), "half a thought")
    page.one("#text").send_keys(Keys.BACKSPACE * len("half a thought"))


def an_edit_asks_again_and_can_be_taken_back(page, server, _):
    before = page.texts("assistant")
    page.press("Edit", "article.user")
    area = page.one("article.user .editor textarea")
    area.send_keys(" Now.")
    page.driver.refresh()
    page.until(lambda: page.all("article.user .editor textarea"))
    page.press("Save and send")
    page.ended()
    equal(page.texts("user"), [QUESTION + " Now."])
    want = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION + " Now."}]})[1]
    equal(page.texts("assistant")[0].split(), want["choices"][0]["message"]["content"].split())
    page.press("Undo")
    equal((page.texts("user"), page.texts("assistant")), ([QUESTION], before))
    page.press("Try again")
    page.ended()
    equal(page.texts("assistant"), before)


def settings_are_sent(page, server, _):
    page.press("Settings")
    page.one("[name=max_tokens]").send_keys("5")
    page.one("[name=temperature]").send_keys("1.5")
    page.one("[name=seed]").send_keys("7")
    page.one("[name=system]").send_keys("Be brief.")
    page.press("Close")
    page.press("New chat")
    page.send(QUESTION)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    want = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 5, "temperature": 1.5, "seed": 7})[1]
    equal(page.texts("assistant")[0].split(), want["choices"][0]["message"]["content"].split())
    assert "most tokens" in page.one("article.assistant .note").text
    page.press("Settings")
    page.press("Close")
    page.one("#text").send_keys("kept")
    for name, wrong in [("tools", "no list"), ("tools", "{}"), ("top_p", "2"), ("top_p", "-"), ("max_tokens", "0.5")]:
        page.press("Settings")
        before = page.one(f"[name={name}]").get_property("value")
        page.one(f"[name={name}]").send_keys(Keys.BACKSPACE * len(before), wrong)
        page.press("Close")
        page.one("#text").send_keys(Keys.ENTER)
        assert page.one("#settings").get_property("open") and page.one("#text").get_property("value") == "kept", wrong
        page.one(f"[name={name}]").send_keys(Keys.BACKSPACE * len(wrong), before)
        page.press("Close")
    page.one("#text").send_keys(Keys.BACKSPACE * len("kept"))


def conversations_are_chosen_and_deleted(page, server, _):
    equal(len(page.all("#chats li")), 2)
    page.all("#chats li button:first-child")[1].click()
    equal(len(page.texts("assistant")), 1)
    page.all("#chats li button:last-child")[1].click()
    equal(len(page.all("#chats li")), 1)
    page.press("Undo")
    equal(len(page.all("#chats li")), 2)


def an_error_is_shown_and_nothing_is_lost(page, server, _):
    page.press("New chat")
    long = "word " * 3000
    page.script("document.getElementById('text').value = arguments[0]", long)
    page.send(" ")
    assert "context" in page.one("article.assistant .trouble").text, page.one("article.assistant").text
    equal(page.script("return document.querySelector('article.user .text').textContent").strip(), long.strip())
    kept = page.script("return Object.values(localStorage).join()")
    assert long.strip() in kept


def a_stopped_answer_stays(page, server, arguments):
    with_long = Talker(arguments, [f"word{i} " for i in range(250)], "nemotron_mini")
    try:
        with Page(with_long.url) as page:
            page.slow(8000)
            page.send("Go on", wait=False)
            page.until(lambda: page.texts("assistant")[0].count("word") > 3)
            page.one("#text").send_keys(Keys.ESCAPE)
            page.ended()
            equal(page.one("article.assistant .note").text, "Stopped.")
            words = page.texts("assistant")[0].count("word")
            assert 3 < words < 250, words
            page.press("Try again")
            page.until(lambda: page.texts("assistant")[0].count("word") > 3)
            page.driver.refresh()
            # A browser may break the connection first, or the page.
            ends = ["The page was left before this answer ended.", "The connection broke (network error)."]
            page.until(lambda: page.one("article.assistant .note").text in ends)
            assert page.texts("assistant")[0].count("word") > 3
    finally:
        with_long.stop()


def reasoning_is_folded_and_calls_are_answered(_page, _server, arguments):
    talks = Talker(arguments, CALL, "nemotron_3_nano")
    try:
        with Page(talks.url) as page:
            page.press("Settings")
            page.script("arguments[0].value = arguments[1]", page.one("[name=tools]"), json.dumps([WEATHER]))
            page.one("[name=tools]").send_keys(" ")
            page.press("Close")
            page.send("Rain?")
            thought = page.one("article.assistant details.thought")
            assert thought.is_displayed() and not thought.get_property("open") and thought.text.startswith("Reasoning, "), thought.text
            page.one("article.assistant details.thought summary").click()
            page.until(lambda: "I ask." in page.one("article.assistant details.thought").text)
            assert "calls weather" in page.one("article.assistant figure").text
            equal(json.loads(page.one("article.assistant figure pre").text), {"town": "Kyoto", "days": 3})
            page.one("article.assistant figure textarea").send_keys("Sun.")
            look(page, arguments, "calls")
            check_rules(page, arguments)
            page.press("Send results")
            page.ended()
            equal(page.texts("tool"), ["Sun."])
            equal(len(page.all("article.assistant")), 2)
    finally:
        talks.stop()


def a_key_is_asked_for(_page, _server, arguments):
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write("open-sesame\n")
        keys.flush()
        guarded = Server(arguments.nemotron, arguments.model, "--api-key-file", keys.name, key="open-sesame")
        try:
            with Page(guarded.url) as page:
                page.until(lambda: page.one("#key").is_displayed())
                page.press("Cancel")
                page.send(QUESTION)
                page.until(lambda: page.one("#key").is_displayed())
                assert "API key" in page.one("article.assistant .trouble").text
                check_rules(page, arguments)
                page.one("#key input").send_keys("open-sesame", Keys.ENTER)
                page.until(lambda: page.texts("assistant") and page.texts("assistant")[0])
                page.ended()
                equal(page.texts("user"), [QUESTION])
                assert "sesame" not in page.script("return JSON.stringify(localStorage)")
        finally:
            guarded.stop()


def rules_of_accessibility_hold(page, _server, arguments):
    page.driver.refresh()
    page.all("#chats li button:first-child")[-1].click()
    for is_dark in [False, True]:
        page.dark(is_dark)
        for width in [1200, 375]:
            page.width(width)
            check_rules(page, arguments)
            equal(page.script("return document.documentElement.scrollWidth"), width)
            look(page, arguments, f"{'dark' if is_dark else 'light'}-{width}")
    page.one("#menu").click()
    check_rules(page, arguments)
    look(page, arguments, "menu")
    page.one("#menu").click()
    page.press("Settings")
    check_rules(page, arguments)
    look(page, arguments, "settings")


def check_rules(page, arguments):
    """No fault that axe-core calls serious or worse."""
    rules = "return axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations)"
    found = page.script(pathlib.Path(arguments.axe).read_text() + rules)
    faults = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in ("serious", "critical")]
    equal(faults, [])


def a_server_that_has_gone_is_told(page, server, _):
    page.width(1200)
    page.driver.refresh()
    page.press("New chat")
    server.stop()
    page.send("Are you there?")
    assert "cannot be reached" in page.one("article.assistant .trouble").text
    equal(page.texts("user"), ["Are you there?"])


CHECKS = [
    a_question_is_answered_as_by_the_api,
    a_reload_keeps_conversation_and_draft,
    an_edit_asks_again_and_can_be_taken_back,
    settings_are_sent,
    conversations_are_chosen_and_deleted,
    an_error_is_shown_and_nothing_is_lost,
    a_stopped_answer_stays,
    a_hostile_answer_is_text,
    long_hostile_texts_take_no_time,
    markdown_means_what_commonmark_says,
    reasoning_is_folded_and_calls_are_answered,
    a_key_is_asked_for,
    rules_of_accessibility_hold,
    a_server_that_has_gone_is_told,
]


def main():
    parser = checks.parser(__doc__)
    parser.add_argument("--axe", required=True, help="axe.js of the npm package axe-core")
    parser.add_argument("--screenshots", help="a folder for pictures of the page")
    arguments = parser.parse_args()
    server = Server(arguments.nemotron, arguments.model)
    with Page(server.url) as page:
        code = checks.run(CHECKS, page, server, arguments)
    if server.process.poll() is None:
        server.stop()
    return code


if __name__ == "__main__":
    sys.exit(main())
