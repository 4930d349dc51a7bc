"""docs/cli.md says what the commands say, and the commands say something about everything."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from nearfield.cli.app import COMMANDS, build

ROOT = Path(__file__).resolve().parents[2]


def load_script():
    spec = importlib.util.spec_from_file_location("make_cli_reference", ROOT / "scripts" / "make_cli_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_not_drifted_from_the_commands():
    assert load_script().reference() == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_file_of_a_command_is_a_command():
    folder = Path(__import__("nearfield.cli").cli.__file__).parent
    sources = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    with_command = {name for name, source in sources.items() if re.search(r"^(def command\(|command = )", source, re.M)}
    assert with_command == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described_and_documented(name):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page.split(f"## nearfield {name}\n")[1].split("\n## ")[0]
    command = build().get_command(None, name)
    assert command.help.splitlines()[0] in section
    names = [
        word
        for parameter in command.params
        for word in (parameter.opts if parameter.param_type_name == "option" else [])
    ]
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.replace("|", "&#124;") in section
    for option in names:
        assert f"`{option}" in section
    assert "--json" in names
