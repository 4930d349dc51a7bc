"""The application: its commands by name, each imported when it is run."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nearfield.cli.output import Interrupted

COMMANDS = (
    "add", "upsert", "delete", "get", "search", "similar", "recommend", "cluster", "evaluate", "serve", "stats", "tune",
    "export", "import", "migrate", "compact", "check", "repair", "snapshot", "restore",
)  # fmt: skip
"""In the order in which help lists them; `nearfield.cli.<name>.command` is the command."""

SETTINGS: dict[str, Any] = {"help_option_names": ["--help", "-h"]}


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # Typer would end without a word
            raise Interrupted("interrupted") from None

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=SETTINGS)
        alone.command(cmd_name)(import_module(f"nearfield.cli.{cmd_name}").command)
        return typer.main.get_command(alone)


def build() -> Any:
    """Return the command `nearfield` with its subcommands."""
    app = typer.Typer(name="nearfield", cls=_Commands, pretty_exceptions_enable=False, context_settings=SETTINGS)
    app.callback(invoke_without_command=True)(_root)
    return typer.main.get_command(app)


def _version(asked: bool) -> None:
    if asked:
        from nearfield import __version__

        typer.echo(f"nearfield {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Search, cluster and recommend over a durable collection of documents."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
