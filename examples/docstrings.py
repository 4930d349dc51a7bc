"""The docstrings of Python's standard library: thousands of real texts that every machine has.

They are read from the source files, without importing them.
"""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import nearfield as nf

LEAST_CHARACTERS = 40
"""Shorter docstrings ("See base class.") say nothing to search for."""

LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "site-packages", "__pycache__"}


def documents() -> Iterator[nf.Document]:
    """Yield a document for each module, class and function: its name is the doc_id, its docstring the text."""
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if LEFT_OUT & set(parts) or parts[0] not in sys.stdlib_module_names:
            continue
        module = ".".join(parts).removesuffix(".__init__")
        for document in _of_module(module, file):
            if document.doc_id not in seen:
                seen.add(str(document.doc_id))
                yield document


def _of_module(module: str, file: Path) -> Iterator[nf.Document]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in others' strings
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    yield from _of_node(tree, module, module, "module")


def _of_node(node: ast.AST, name: str, module: str, kind: str) -> Iterator[nf.Document]:
    text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")  # type: ignore[arg-type]
    if len(text) >= LEAST_CHARACTERS and "\0" not in text:
        package = module.split(".", maxsplit=1)[0]
        metadata = {"module": module, "package": package, "kind": kind, "words": len(text.split())}
        yield nf.Document(text, doc_id=name, title=name.removeprefix(module + "."), metadata=metadata)  # type: ignore[arg-type]
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _of_node(child, f"{name}.{child.name}", module, "class")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_node(child, f"{name}.{child.name}", module, "method" if kind == "class" else "function")
