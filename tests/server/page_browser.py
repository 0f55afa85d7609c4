"""A Chromium that shows the chat page, the server behind it, and what a test does with both. Without selenium the program ends with 77."""
import pathlib
import shutil
import subprocess
import sys
import time

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
except ImportError:
    print("selenium is not installed (apt-get install python3-selenium)")
    sys.exit(77)

PATIENCE = 60  # seconds until something that must come has come

# What the page hands to fetch(), for tests that look at it; and whether anything ran that should not.
RECORDER = """
window.sent = [];
const plainFetch = window.fetch;
window.fetch = (path, options) => { if (options?.body) window.sent.push(JSON.parse(options.body)); return plainFetch(path, options); };
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective));
"""


class Stub:
    def __init__(self, program, *options):
        self.process = subprocess.Popen([program, *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/"

    def close(self):
        self.process.kill()
        self.process.wait()


class Page:
    def __init__(self, folder, width=1280, height=860, dark=False):
        options = Options()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}", "--force-color-profile=srgb"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(PATIENCE)
        self.command("Page.addScriptToEvaluateOnNewDocument", source=RECORDER)
        self.set_screen(width, height, dark)

    def command(self, name, **values):
        return self.driver.execute_cdp_cmd(name, values)

    def set_screen(self, width, height, dark=False):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url):
        self.driver.get(url)
        self.wait(lambda: self.find("#model option") or self.find("#notice:not([hidden])"), "the server's models")

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            time.sleep(0.02)
        raise AssertionError(f"waited for {what}; log: {self.text('#log')[-300:]!r}, notice: {self.text('#notice')!r}")

    def text(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent).join('|')", selector)

    def is_running(self):
        return self.one("#stop").is_displayed()

    def type(self, text):
        self.run("const i = document.getElementById('input'); i.value = arguments[0]; i.dispatchEvent(new Event('input'))", text)

    def send(self, text):
        count = len(self.find(".message"))
        self.type(text)
        self.one("#send").click()
        self.wait(lambda: len(self.find(".message")) == count + 2, "the message")

    def ask(self, text):
        self.send(text)
        self.end()

    def end(self):
        self.wait(lambda: not self.is_running(), "the end of the answer")

    def button(self, label, last=True):
        buttons = self.find(f"[aria-label='{label}']")
        self.run("arguments[0].scrollIntoView({block: 'center'})", buttons[-1 if last else 0])
        self.run("arguments[0].click()", buttons[-1 if last else 0])

    def close(self):
        self.driver.quit()


class Shop:
    def __init__(self, stub, quern, folder, screenshots):
        self.stub_program, self.quern, self.folder, self.screenshots = stub, quern, pathlib.Path(folder), screenshots
        self.page = Page(self.folder / "profile")
        self.stub = Stub(stub, 0.0003, 8, 8192, 60000)

    def fresh(self, url=None):
        page = self.page
        page.driver.get((url or self.stub.url) + "livez")
        page.run("localStorage.clear(); sessionStorage.clear()")
        page.open(url or self.stub.url)
        return page

    def shoot(self, name):
        if self.screenshots:
            time.sleep(0.3)
            self.page.driver.save_screenshot(str(pathlib.Path(self.screenshots) / f"{name}.png"))

    def close(self):
        self.page.close()
        self.stub.close()
