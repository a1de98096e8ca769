"""Look at the built documentation site in Chromium.

On each page: nothing in the console, no request that fails, none to another host, and on a
narrow screen no sideways scrolling of the page. Searching finds what it should. The browser is
that of the system (``chromium`` on the path, or ``CHROMIUM``).
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / 'build' / 'site'
WIDE, NARROW = {'width': 1280, 'height': 900}, {'width': 360, 'height': 740}

SOURCES = ('source/examples/', 'source/examples/polyglot/', 'source/proto/uactor/v1/actor.proto/')

SEARCHES = {
    'deadline': 'DeadlineError',
    'ActorDiedError': 'ActorDiedError',
    'mailbox': 'Mailboxes',
}
"""What is typed, and what one of the results has to contain."""

TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  return Math.max(document.body.scrollWidth, document.documentElement.scrollWidth) - width;
}"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the browser tells what fails."""


def serve(site: Path) -> http.server.ThreadingHTTPServer:
    """Serve a directory on a free port of this machine."""
    handler = functools.partial(QuietHandler, directory=str(site))
    server = http.server.ThreadingHTTPServer(('localhost', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def pages(site: Path) -> Iterator[str]:
    """Yield the paths of the pages; of those that show a file, all alike, some."""
    for path in sorted(site.rglob('*.html')):
        name = path.relative_to(site).as_posix().removesuffix('index.html')
        if not name.startswith('source/') or name in SOURCES:
            yield name


class Visitor:
    """A browser's page, and what has gone wrong in it."""

    def __init__(self, page: Page, base: str, pictures: Path | None) -> None:
        self.faults: list[str] = []
        self._page, self._base, self._pictures = page, base, pictures
        self._at = ''
        page.on('console', lambda message: self._note_console(message.type, message.text))
        page.on('pageerror', lambda error: self._note(f'error: {error}'))
        page.on('requestfailed', lambda request: self._note(f'not loaded: {request.url}'))
        page.on('response', lambda response: self._note_response(response.status, response.url))

    def visit(self, path: str) -> None:
        """Open a page, and look at it on a wide and on a narrow screen."""
        self._at = path
        self._page.set_viewport_size(WIDE)
        # A page that is left earlier gives up loading what its search needs.
        self._page.goto(self._base + path, wait_until='networkidle')
        self._look('wide')
        self._page.set_viewport_size(NARROW)
        self._look('narrow')

    def search(self, words: str, expected: str) -> None:
        """Search from the first page, and look for what should be found."""
        self._at = f'search for {words!r}'
        self._page.set_viewport_size(WIDE)
        self._page.goto(self._base, wait_until='load')
        field = self._page.locator('input[name=query]')
        ready = self._page.locator('.md-search-result__meta', has_text='Type to start searching')
        results = self._page.locator('.md-search-result__item', has_text=expected)
        try:
            field.click()
            ready.wait_for()
            field.press_sequentially(words)
            results.first.wait_for(state='attached')
        except TimeoutError as error:
            self._note(f'nothing with {expected!r} is found: {error}')
        self._take_picture('search')

    def _look(self, screen: str) -> None:
        excess = self._page.evaluate(TOO_WIDE)
        if excess > 0:
            self._note(f'{excess} px wider than the {screen} screen')
        self._take_picture(screen)

    def _take_picture(self, name: str) -> None:
        if self._pictures is not None:
            file = f'{self._at.strip("/").replace("/", "-") or "index"}-{name}.png'
            self._page.screenshot(path=self._pictures / file)

    def _note_console(self, kind: str, text: str) -> None:
        if kind in ('error', 'warning'):
            self._note(f'console: {text}')

    def _note_response(self, status: int, url: str) -> None:
        if status >= 400:
            self._note(f'{status} for {url}')
        elif not url.startswith((self._base, 'data:', 'blob:')):
            self._note(f'loaded from elsewhere: {url}')

    def _note(self, fault: str) -> None:
        self.faults.append(f'/{self._at}: {fault}')


def main() -> int:
    """Look at the site; return 1 when something is wrong with it."""
    parser = argparse.ArgumentParser(description='Look at the documentation site in Chromium.')
    parser.add_argument('--pictures', type=Path, help='where to put a picture of each page')
    options = parser.parse_args()
    browser_path = os.environ.get('CHROMIUM') or shutil.which('chromium')
    if browser_path is None:
        print('no chromium on the path; install it, or set CHROMIUM', file=sys.stderr)
        return 1
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)

    start = time.monotonic()
    server, paths = serve(SITE), list(pages(SITE))
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that root in a container lacks.
        browser = playwright.chromium.launch(executable_path=browser_path, args=['--no-sandbox'])
        base = f'http://localhost:{server.server_address[1]}/'
        visitor = Visitor(browser.new_page(), base, options.pictures)
        for path in paths:
            visitor.visit(path)
        for words, expected in SEARCHES.items():
            visitor.search(words, expected)
        browser.close()
    server.shutdown()

    for fault in visitor.faults:
        print(fault, file=sys.stderr)
    seconds = time.monotonic() - start
    print(f'{len(paths)} pages, {len(visitor.faults)} faults, {seconds:.0f} s')
    return int(bool(visitor.faults))


if __name__ == '__main__':
    sys.exit(main())
