"""The command line: `nearfield add`, `nearfield search` and so on; `main` runs one command."""

from __future__ import annotations

from nearfield.cli.main import main

__all__ = ["main"]
