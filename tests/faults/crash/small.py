"""Lets everything that takes thousands of documents in use happen after a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

LIMITS = {
    "segments": {"SLOT": 64},
    "compaction": {"LEAST_DEAD": 8, "STEP_ROWS": 24, "STEP_PAGES": 2},
    "upkeep": {"LEAST_UNSAVED": 10, "KEPT_GENERATIONS": 3},
    "states": {"LEAST_DEAD_SLOTS": 20},
    "lexical": {"TAIL": 20, "TAIL_TERMS": 400, "LAG": 10, "PAUSE_SECONDS": 0.0, "STEP": 30, "DEAD_LEAST": 10},
    "neighbours": {
        "NEW_LEAST": 10,
        "BUSY_LEAST": 10,
        "BUSY_SHARE": 0.2,
        "REST_SECONDS": 0.0,
        "LOOK_SECONDS": 0.0,
    },
    "pace": {"GRACE_SECONDS": 0.0, "QUIET_SECONDS": 0.0},
    "nearfield.index.kinds": {"LEAST_ROWS": 30},
}
"""By module, of the local engine if nothing else is said: its limits, and what they are here."""


def make_small(
    change: Callable[[object, str, float], None] = setattr, limits: Mapping[str, Mapping[str, float]] = LIMITS
) -> None:
    """Lower the limits in this process: for good, unless `change` takes note of what it changes."""
    for module, lowered in limits.items():
        engine = import_module(module if "." in module else f"nearfield.engine.local.{module}")
        for name, value in lowered.items():
            assert isinstance(getattr(engine, name), int | float), f"{module}.{name} is not there any more"
            change(engine, name, value)
