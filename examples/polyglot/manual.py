"""A search index over Python's own manual, for callers in any language.

It holds the language reference, as ``help()`` has it, and the docstrings of the built-in functions
and types; callers add notes of their own.
"""

from __future__ import annotations

import builtins
import collections
import dataclasses
import enum
import functools
import inspect
import math
import pydoc
import pydoc_data.topics
import re
import textwrap
import threading
from collections.abc import Iterator
from datetime import datetime, timezone

import uactor
from uactor.proxies.containers import SetProxy


class Section(enum.Enum):
    """Where a document comes from."""

    LANGUAGE = 'the language reference'
    BUILTINS = 'docstrings of built-in functions and types'
    NOTES = 'what callers have added'


@dataclasses.dataclass(frozen=True)
class Document:
    """A text with a name.

    :ivar written: when; unknown for what comes with Python.
    """

    name: str
    text: str
    section: Section = Section.NOTES
    written: datetime | None = None


@dataclasses.dataclass(frozen=True)
class See:
    """A name that the manual explains under another one."""

    name: str


@dataclasses.dataclass(frozen=True)
class Hit:
    """A document that was found.

    :ivar score: how well it fits, by BM25; to be compared within one search only.
    :ivar excerpt: the passage of it that fits best.
    """

    name: str
    section: Section
    score: float
    excerpt: str


@dataclasses.dataclass(frozen=True)
class Ingested:
    """What became of a stream of documents."""

    added: int
    replaced: list[str]


class UnknownName(LookupError):
    """The manual has nothing of that name."""


class NotYours(Exception):
    """The document came with Python, and stays as it is."""


class Manual(uactor.Actor):
    """Finds passages of Python's manual."""

    _exposed_ = ('add', 'ingest', 'look_up', 'search', 'select', 'size', 'suggest', 'updated')
    _package_ = 'manual'
    _errors_ = {UnknownName: 'NOT_FOUND', NotYours: 'PERMISSION_DENIED'}
    _method_to_typeid_ = {'select': 'set'}  # stays here, and callers get a handle

    def __init__(self) -> None:
        self._lock = threading.Lock()  # callers come on threads of their own
        self._index = Index()
        self._see = dict(references())
        self._updated = datetime.now(timezone.utc)
        for document in shipped():
            self._index.put(document)

    @property
    def size(self) -> int:
        """How many documents there are."""
        return len(self._index)

    @property
    def updated(self) -> datetime:
        """When a document was last added."""
        return self._updated

    def search(
        self,
        query: str,
        limit: int = 5,
        section: Section | None = None,
        within: SetProxy[str] | None = None,
    ) -> list[Hit]:
        """Return the documents that fit best, the best first.

        :param query: words; those that few documents have count most.
        :param limit: how many documents at most.
        :param section: only those of this section.
        :param within: only those of a selection.
        """
        selected = None if within is None else set(within)
        with self._lock:
            found = [
                (score, document)
                for score, document in self._index.ranked(query)
                if section in (None, document.section)
                if selected is None or document.name in selected
            ]
        return [
            Hit(document.name, document.section, score, excerpt(document.text, query))
            for score, document in found[: max(limit, 0)]
        ]

    def select(self, query: str) -> set[str]:
        """Keep the names of all documents that have all the words, for searches within them."""
        with self._lock:
            return self._index.having(query)

    def look_up(self, name: str) -> Document | See:
        """Return the document of that name, or the name to see instead.

        :raises UnknownName: when there is neither.
        """
        with self._lock:
            document = self._index.get(name)
        if document is not None:
            return document
        if name in self._see:
            return See(self._see[name])
        raise UnknownName(f'the manual has no {name!r}')

    def suggest(self, prefix: str) -> Iterator[str]:
        """Yield the names that begin with ``prefix``, in alphabetical order."""
        with self._lock:
            names = {*self._index.names(), *self._see}
        yield from sorted(name for name in names if name.startswith(prefix))

    def add(self, document: Document) -> bool:
        """Add a note, or put another in its place; return whether it is a new one.

        :raises NotYours: for the name of a document that came with Python.
        """
        with self._lock:
            old = self._index.get(document.name)
            if old is not None and old.section is not Section.NOTES:
                raise NotYours(f'{old.name!r} is part of {old.section.value}')
            self._updated = datetime.now(timezone.utc)
            self._index.put(dataclasses.replace(document, section=Section.NOTES))
        return old is None

    def ingest(self, documents: Iterator[Document]) -> Ingested:
        """Add notes as they arrive.

        :raises NotYours: at a document that came with Python. Those before it have been added.
        """
        is_new = {document.name: self.add(document) for document in documents}
        return Ingested(sum(is_new.values()), sorted(name for name in is_new if not is_new[name]))


# --- the index -----------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared."""
    return re.findall(r'[a-z0-9]+', text.lower())


class Index:
    """Documents, and which word occurs how often in which.

    They are ranked by BM25: a word counts the more the fewer documents have it, and each further
    occurrence counts less, the sooner so the shorter the document.
    """

    SATURATION, LENGTHS = 1.2, 0.75

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._lengths: dict[str, int] = {}
        self._occurrences: dict[str, dict[str, int]] = collections.defaultdict(dict)

    def __len__(self) -> int:
        return len(self._documents)

    def names(self) -> Iterator[str]:
        return iter(self._documents)

    def get(self, name: str) -> Document | None:
        return self._documents.get(name)

    def put(self, document: Document) -> None:
        """Add a document in place of the one with its name, if there is one."""
        name = document.name
        if name in self._documents:
            for word in set(self._words(self._documents[name])):
                del self._occurrences[word][name]
        found = self._words(document)
        for word, count in collections.Counter(found).items():
            self._occurrences[word][name] = count
        self._documents[name], self._lengths[name] = document, len(found)

    @staticmethod
    def _words(document: Document) -> list[str]:
        return words(f'{document.name} {document.text}')

    def having(self, query: str) -> set[str]:
        """Return the names of the documents that have all the words."""
        found = [set(self._occurrences.get(word, ())) for word in words(query)]
        return set[str].intersection(*found) if found else set()

    def ranked(self, query: str) -> list[tuple[float, Document]]:
        """Return the documents that have any of the words, with their scores, the best first."""
        scores: dict[str, float] = collections.defaultdict(float)
        average = sum(self._lengths.values()) / max(len(self), 1)
        for word in set(words(query)):
            occurrences = self._occurrences.get(word, {})
            rarity = math.log(1 + (len(self) - len(occurrences) + 0.5) / (len(occurrences) + 0.5))
            for name, count in occurrences.items():
                length = 1 - self.LENGTHS + self.LENGTHS * self._lengths[name] / average
                saturated = count * (self.SATURATION + 1) / (count + self.SATURATION * length)
                scores[name] += rarity * saturated
        best = sorted(scores, key=lambda name: (-scores[name], name))
        return [(scores[name], self._documents[name]) for name in best]


def excerpt(text: str, query: str, width: int = 80) -> str:
    """Return the paragraph that has most of the words, shortened to ``width`` characters."""
    wanted = set(words(query))
    paragraphs = re.split(r'\n\s*\n', text)

    def fit(paragraph: str) -> tuple[int, int]:
        found = [word for word in words(paragraph) if word in wanted]
        return len(set(found)), len(found)

    best = max(paragraphs, key=fit)
    return textwrap.shorten(best, width, placeholder=' …')


# --- what comes with Python ----------------------------------------------------------------------


def shipped() -> Iterator[Document]:
    """Yield the documents that come with Python."""
    for name, text in pydoc_data.topics.topics.items():
        yield Document(name, text, Section.LANGUAGE)
    for name, member in vars(builtins).items():
        doc = inspect.getdoc(member)
        if callable(member) and doc and name not in pydoc_data.topics.topics:
            yield Document(name, doc, Section.BUILTINS)


def references() -> Iterator[tuple[str, str]]:
    """Yield the names that ``help()`` explains under another one, with that name."""
    entries = {**pydoc.Helper.topics, **pydoc.Helper.keywords}

    @functools.cache
    def topic(name: str) -> str:
        entry = entries.get(name, '')
        return topic(entry) if isinstance(entry, str) and entry in entries else entry[0]

    for name in entries:
        if entries[name] and topic(name) != name:
            yield name, topic(name)
