"""Serving without the extra `serve`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nearfield as nf
from nearfield import serve


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for call in (serve.create_app, serve.run):
        with pytest.raises(nf.MissingDependency, match=rf"{package}: pip install 'nearfield\[serve\]'"):
            call(None)


def test_importing_serve_and_monitor_loads_no_web_framework():
    code = (
        "import sys, nearfield.serve, nearfield.monitor\n"
        "print({'fastapi', 'uvicorn', 'prometheus_client', 'pydantic'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_a_missing_model_is_told_and_does_not_keep_the_server_from_starting(monkeypatch, caplog, tmp_path):
    from nearfield.serve.server import _load_encoder

    def absent(_):
        raise nf.MissingDependency("put the model's files there")

    monkeypatch.setattr(nf.Collection, "encoder", property(absent))
    with nf.open(tmp_path / "a.nf") as collection:
        _load_encoder(collection)
    assert "put the model's files there" in caplog.text
