"""A browser with the page of a server, driven as a user would, and servers whose model says what a check needs."""

import pathlib
import shutil
import tempfile
import time

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import talker
from clients import TEMPLATES, Server


class Page:
    """A browser of its own with the page of a server."""

    def __init__(self, url):
        options = webdriver.ChromeOptions()
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"]:
            options.add_argument(argument)
        # Debian's, so that nothing is looked for elsewhere.
        options.binary_location = shutil.which("chromium")
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.url, self.shown = url, 0
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {
            "source": "addEventListener('securitypolicyviolation', (event) => (window.violations ??= []).push(event.violatedDirective))"
        })
        self.driver.get(url + "/")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, label, within="body"):
        """Presses the last visible button of that label."""
        buttons = [each for each in self.all(f"{within} button") if each.text == label and each.is_displayed()]
        assert buttons, f"there is no button {label!r}"
        buttons[-1].click()

    def until(self, what, seconds=20):
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = what()
            except (NoSuchElementException, StaleElementReferenceException, IndexError):
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, "it does not come; the page says:\n" + self.one("body").text
            time.sleep(0.03)

    def send(self, text, wait=True):
        self.one("#text").send_keys(text, Keys.ENTER)
        if wait:
            self.ended()

    def show(self, text):
        """Opens a kept conversation with a model's text. The page keeps its own again when it is left, so each has a new id."""
        self.shown += 1
        self.script("""localStorage.clear(); const id = `shown${arguments[1]}`;
            const chat = { id, changed: Date.now() + 1e6, settings: {}, draft: "", messages: [{ role: "assistant", content: arguments[0] }] };
            localStorage.setItem("nemotron.chat." + id, JSON.stringify(chat));""", text, self.shown)
        self.driver.refresh()

    def ended(self):
        self.until(lambda: self.one("#send").is_displayed() and not self.all("article[aria-busy=true]"))

    def texts(self, role):
        return [each.text for each in self.all(f"article.{role} .text")]

    def script(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def slow(self, bytes_per_second):
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": False, "latency": 0, "downloadThroughput": bytes_per_second, "uploadThroughput": -1
        })

    def width(self, width, height=900):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500
        })

    def dark(self, is_dark):
        features = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


class Talker(Server):
    """A server whose model says the same whatever it is asked."""

    def __init__(self, arguments, pieces, template, *options):
        self.folder = tempfile.TemporaryDirectory()
        template = (TEMPLATES / f"{template}.jinja").read_text()
        talker.write(arguments.model, self.folder.name, template, pieces)
        super().__init__(arguments.nemotron, self.folder.name, *options)

    def stop(self):
        super().stop()
        self.folder.cleanup()


def pieces_of(text, length=9):
    """Different pieces of a text: talker needs each to be another token."""
    pieces, at = [], 0
    while at < len(text):
        end = at + length
        while text[at:end] in pieces or (end < len(text) and text[end - 1] == " "):
            end += 1
        pieces.append(text[at:end])
        at = end
    return pieces


def look(page, arguments, name):
    if arguments.screenshots:
        folder = pathlib.Path(arguments.screenshots)
        folder.mkdir(parents=True, exist_ok=True)
        page.driver.save_screenshot(str(folder / f"{name}.png"))
