"""Docstrings for the reference on the site: their roles become links, or code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import griffe

ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):`~?([^`]+)`')
CODE = re.compile(r'``([^`]+)``')


def public_names() -> frozenset[str]:
    """Return the names that the package exports."""
    source = Path(__file__).resolve().parent.parent / 'uactor' / '__init__.py'
    for node in ast.parse(source.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id='__all__')], value=value):
                return frozenset(ast.literal_eval(value))
    raise ValueError('uactor has no __all__')


PUBLIC = public_names()


def markdown(docstring: str) -> str:
    """Return a docstring with its roles as Markdown."""
    return CODE.sub(r'`\1`', ROLE.sub(replace_role, docstring))


def replace_role(role: re.Match[str]) -> str:
    """Return a link to a public name, and code for all others."""
    name = role[1].removeprefix('uactor.').lstrip('.').split('.')[0]
    return f'[`{role[1]}`][uactor.{name}]' if name in PUBLIC else f'`{role[1]}`'


class Roles(griffe.Extension):  # type: ignore[misc]  # untyped here: see pyproject.toml
    """Write the docstrings of the package as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
