"""Hooks of MkDocs: pages for what stands outside ``docs``, and links that lead there.

The documents are written for readers of the repository: their links name files. On the site,
README, changelog and contributor's page become pages of their own, and every other file that a
document links to becomes a page under ``source``. So each link is checked by the build.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'

MOVED = {
    ROOT / 'README.md': 'index.md',
    ROOT / 'CHANGELOG.md': 'changelog.md',
    ROOT / 'CONTRIBUTING.md': 'contributing.md',
}
"""Documents that are no part of ``docs``, and their pages."""

LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#)([^)#\s]+)')
CODE = re.compile(r'^```.*?^```$', re.MULTILINE | re.DOTALL)
HIDDEN = ('__pycache__', 'gen', 'build', 'node_modules')
LEXERS = {'.py': 'python', '.proto': 'protobuf', '.go': 'go', '.ts': 'typescript', '.json': 'json'}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand for files outside ``docs``."""
    for path, uri in MOVED.items():
        text = rewrite_links(path.read_text(), path, uri)
        files.append(File.generated(config, uri, content=text))
    pending = {target for path in documents() for target in targets(path)}
    done: set[Path] = set()
    while pending:
        path = pending.pop()
        done.add(path)
        files.append(File.generated(config, page_of(path), content=source_page(path)))
        pending |= (set(children(path)) | set(targets(path))) - done
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to the pages that stand for their targets."""
    if page.file.abs_src_path is None:
        return markdown
    return rewrite_links(markdown, Path(page.file.abs_src_path), page.file.src_uri)


def documents() -> list[Path]:
    """Return the documents that are pages by themselves."""
    return [*MOVED, *sorted(DOCS.rglob('*.md'))]


def targets(document: Path) -> Iterator[Path]:
    """Yield the files outside ``docs`` that a document links to."""
    if document.suffix != '.md':
        return
    for match in LINK.finditer(CODE.sub('', document.read_text())):
        path = (document.parent / match[1]).resolve()
        if path.exists() and path not in MOVED and DOCS not in path.parents:
            yield path


def children(directory: Path) -> Iterator[Path]:
    """Yield what a directory has."""
    if directory.is_dir():
        yield from sorted(path for path in directory.iterdir() if path.name not in HIDDEN)


def page_of(path: Path) -> str:
    """Return the page that stands for a file."""
    if path in MOVED:
        return MOVED[path]
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        return f'source/{name}/index.md'
    return f'source/{name}' if path.suffix == '.md' else f'source/{name}.md'


def source_page(path: Path) -> str:
    """Return the text of the page for a file outside ``docs``."""
    uri, name = page_of(path), path.relative_to(ROOT)
    if path.suffix == '.md':
        return rewrite_links(path.read_text(), path, uri)
    if path.is_dir():
        links = [f'* [{each.name}]({relative(page_of(each), uri)})' for each in children(path)]
        return f'# {name}\n\n' + '\n'.join(links) + '\n'
    return f'# {name}\n\n````{LEXERS.get(path.suffix, "text")}\n{path.read_text()}````\n'


def relative(uri: str, start: str) -> str:
    return posixpath.relpath(uri, posixpath.dirname(start) or '.')


def rewrite_links(text: str, document: Path, uri: str) -> str:
    """Return a document in which links to files name the pages that stand for them.

    What leads nowhere stays as it is, and MkDocs complains.
    """

    def rewritten(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(document.parent / match[1]))
        is_asset = DOCS in path.parents and path.suffix != '.md'
        if not path.exists() or ROOT not in path.parents:
            return match[1]
        return relative(path.relative_to(DOCS).as_posix() if is_asset else page_of(path), uri)

    parts = re.split(f'({CODE.pattern})', text, flags=CODE.flags)
    parts[::2] = [LINK.sub(rewritten, part) for part in parts[::2]]
    return ''.join(parts)
