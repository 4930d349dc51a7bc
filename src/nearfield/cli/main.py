"""`main`: runs one command and turns errors into a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from nearfield.errors import InvalidInput, NearfieldError, exit_code

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, that of `nearfield.errors.EXIT_CODES`, or 130 after Ctrl-C.

    What was asked for goes to stdout, everything else to stderr. An error is one line, or with --json one object.

    Args:
        argv: The command and its options; `sys.argv[1:]` if not given.

    >>> main(["--version"]) == 0
    nearfield ...
    True
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Text of documents may be unprintable in a terminal's encoding; it must not end the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _run(arguments)
        if sys.stdout is not None:  # closed by the shell
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing is left to say, and flushing at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: list[str]) -> int:
    from nearfield.cli.app import build
    from nearfield.cli.output import Interrupted, report

    as_json = "--json" in arguments
    try:
        code = build().main(arguments, prog_name="nearfield", standalone_mode=False)
    except NearfieldError as error:
        report(type(error).__name__, str(error), as_json)
        return exit_code(error)
    except Interrupted as error:
        report("Interrupted", str(error), as_json)
        return INTERRUPTED
    except SystemExit as leaving:  # Typer's own: completion, and a broken pipe
        return leaving.code if isinstance(leaving.code, int) else 0
    except BrokenPipeError:
        raise
    except OSError as error:
        report(type(error).__name__, str(error), as_json)
        return 1
    except Exception as error:
        return _usage_error(error, as_json)
    return code if isinstance(code, int) else 0


def _usage_error(error: Any, as_json: bool) -> int:
    from nearfield.cli.output import report

    # By its shape, because Typer's errors come from another package in older versions.
    if not hasattr(error, "format_message"):
        raise error
    context = getattr(error, "ctx", None)
    hint = f"; '{context.command_path} --help' lists what there is" if context else ""
    report(InvalidInput.__name__, error.format_message().rstrip(".") + hint, as_json)
    return exit_code(InvalidInput())
