"""Writes docs/cli.md from the commands themselves; with --check, only says whether it would change."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

from nearfield.cli.app import COMMANDS, build
from nearfield.errors import EXIT_CODES

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

HEAD = """# The command line

<!-- Written by scripts/make_cli_reference.py from the commands; change those, and run it. -->

`nearfield COMMAND --help` shows the same. Answers go to stdout; progress and errors go to stderr. People get tables;
with `--json` a command writes one JSON document, and an error is `{"error": {"type": …, "message": …}}`.
"""


def reference() -> str:
    """Return docs/cli.md as it should be."""
    group = build()
    parts = [HEAD, exit_codes(), "## nearfield\n", inspect.cleandoc(group.help) + "\n", options(group)]
    for name in COMMANDS:
        command = group.get_command(None, name)
        parts += [f"## nearfield {name}\n", f"```\n{usage(name, command)}\n```\n"]
        parts += [inspect.cleandoc(command.help) + "\n", options(command)]
    return "\n".join(parts).rstrip() + "\n"


def exit_codes() -> str:
    """Return the table of exit codes."""
    codes = {code: first_line(kind.__doc__) for kind, code in EXIT_CODES.items()}
    codes |= {0: "Done.", 1: "Any other error.", 130: "Ctrl-C; what was written before is stored."}
    rows = [f"| {code} | {meaning} |" for code, meaning in sorted(codes.items())]
    return "\n".join(["| exit code | meaning |", "|---|---|", *rows, ""])


def first_line(text: str | None) -> str:
    """Return the first sentence of a docstring."""
    return inspect.cleandoc(text or "").splitlines()[0]


def usage(name: str, command: Any) -> str:
    """Return how the command is called."""
    words = [
        shown(argument) if argument.required else f"[{shown(argument)}]"
        for argument in command.params
        if argument.param_type_name == "argument"
    ]
    return " ".join(["nearfield", name, *words, "[OPTIONS]"])


def shown(argument: Any) -> str:
    """Return an argument's name, with dots if it may be repeated."""
    return str(argument.metavar) + ("..." if argument.nargs == -1 else "")


def options(command: Any) -> str:
    """Return the table of a command's arguments and options."""
    rows = ["| argument, option | meaning | default |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name, default = f"`{shown(parameter)}`", ""
        else:
            value = f" {parameter.metavar}" if parameter.metavar and not parameter.is_flag else ""
            name = ", ".join(f"`{flag}{value}`" for flag in parameter.opts)
            default = "" if parameter.default is None or parameter.is_flag else f"`{parameter.default}`"
        rows.append(f"| {name} | {parameter.help.replace('|', '&#124;')} | {default} |")
    return "\n".join([*rows, ""])


def main() -> int:
    """Write the page, or with --check compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    checking = parser.parse_args().check
    text = reference()
    if checking:
        current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        print(
            "docs/cli.md is " + ("up to date" if current == text else "out of date: run scripts/make_cli_reference.py")
        )
        return int(current != text)
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
