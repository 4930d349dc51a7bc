"""Optional packages: loaded where they are used, with an error that says how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nearfield.errors import MissingDependency


def load_extra(module: str, extra: str, purpose: str) -> Any:
    """Return a module of an optional package.

    Args:
        module: Its full name, such as "pyarrow.parquet".
        extra: The extra of nearfield that brings it.
        purpose: What needs it, as the beginning of a sentence.

    Raises:
        MissingDependency: it is not installed.

    >>> load_extra("no_such_package", "frames", "to_pandas")
    Traceback (most recent call last):
    nearfield.errors.MissingDependency: to_pandas needs no_such_package: pip install 'nearfield[frames]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependency(f"{purpose} needs {package}: pip install 'nearfield[{extra}]'") from error
