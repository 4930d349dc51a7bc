"""`import openvino` reports usage over the network; nearfield's import of it must not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"

ENCODE = """
import os, socket, sys

opened = []
create = socket.socket.__init__
def note(self, *args, **kwargs):
    opened.append(args)
    create(self, *args, **kwargs)
socket.socket.__init__ = note
environment = dict(os.environ)

from nearfield.encode import load_encoder
vectors = load_encoder().encode_queries(["How to build a recommender?"])
assert vectors.shape == (1, 384)
assert not any(name.startswith("openvino_telemetry") for name in sys.modules), "openvino_telemetry was imported"
assert not opened, f"sockets were opened: {opened}"
assert dict(os.environ) == environment, "the environment was changed"
import openvino
assert callable(openvino.convert_model)
assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
print("no report")
"""


def run(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    # CI is what makes the reporting package silent by itself; without it, only nearfield's care does.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")}
    environment.update(HOME=str(home), PYTHONPATH=str(SRC), TMPDIR=str(home / "tmp"))
    (home / "tmp").mkdir()
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=home
    )


def test_encoding_reports_nothing_and_writes_nothing_into_the_home(tmp_path: Path) -> None:
    done = run(ENCODE, tmp_path)
    assert done.stdout == "no report\n", done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


def test_the_package_that_was_hidden_can_be_imported_afterwards(tmp_path: Path) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("here = True\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from nearfield.encode.openvino import import_openvino\n"
        "import_openvino(); assert 'openvino_telemetry' not in sys.modules\n"
        "import openvino_telemetry; print(openvino_telemetry.here)\n"
    )
    done = run(code, tmp_path)
    assert done.stdout == "True\n", done.stderr


def test_a_package_that_was_loaded_before_is_put_back(tmp_path: Path) -> None:
    code = (
        "import sys, types; mine = types.ModuleType('openvino_telemetry'); sys.modules[mine.__name__] = mine\n"
        "from nearfield.encode.openvino import import_openvino\n"
        "import_openvino(); print(sys.modules['openvino_telemetry'] is mine)\n"
    )
    done = run(code, tmp_path)
    assert done.stdout == "True\n", done.stderr
