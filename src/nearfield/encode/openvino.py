"""OpenVINO, imported without its usage report."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any

_TELEMETRY = "openvino_telemetry"
_lock = threading.Lock()


def import_openvino() -> Any:
    """Return the `openvino` module; nothing is sent over the network and nothing is written.

    `import openvino` imports its model converter, which sends an event through the package openvino-telemetry unless
    the user has refused. While it is being imported, that package is hidden from it: the converter then takes its own
    stand-in, whose methods do nothing, and stays usable. If other code has imported openvino already, there is
    nothing left to prevent.
    """
    with _lock:
        if "openvino" not in sys.modules:
            hidden = sys.modules.get(_TELEMETRY)
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it raises ImportError
            try:
                import openvino
            finally:
                _restore(hidden)
        import openvino

        return openvino


def _restore(hidden: ModuleType | None) -> None:
    if hidden is None:
        del sys.modules[_TELEMETRY]
    else:
        sys.modules[_TELEMETRY] = hidden
