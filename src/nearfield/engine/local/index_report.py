"""What `Stats.index` tells of the vectors' index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfield.engine.local.state import State
from nearfield.engine.protocol import Settings
from nearfield.index.folder import Marker, tuning_of
from nearfield.index.kinds import EXACT, Recipe

SHOWN_K = 10
"""The number of hits whose recall is told."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an index and a state have in common.

    Args:
        new: Vectors of the state that the index lacks.
        dead: Vectors of the index that the state lacks.
    """

    new: int
    dead: int


def held_of(marker: Marker, state: State) -> Held:
    """Return what the index that a marker speaks of holds of a state."""
    first = int(np.searchsorted(state.keys, marker.next_key))
    new = int(state.counts[first:][state.live[first:]].sum())
    return Held(new, max(0, marker.rows - (state.live_rows - new)))


def report(settings: Settings, marker: Marker, chosen: Recipe, held: Held) -> dict[str, Any]:
    """Return what to tell.

    Args:
        settings: Of the collection.
        marker: Of the index; `NONE` if there is none.
        chosen: What would be built now.
        held: Of the index.
    """
    told: dict[str, Any] = {
        "kind": EXACT,
        "asked": settings.index,
        "wanted": chosen.factory,
        "reason": chosen.reason,
        "recall_target": settings.recall,
        "recall": 1.0,
        "recall_interval": [1.0, 1.0],
        "indexed": marker.rows,
        "scanned": held.new,
        "dead": held.dead,
    }
    return told | _measured(marker) if marker.folder else told


def _measured(marker: Marker) -> dict[str, Any]:
    tuning = tuning_of(marker)
    point = tuning.chosen.get(SHOWN_K)
    memory = {"memory_bytes": sum(size for size, _ in marker.files.values())}
    if point is None:
        reason = f"{marker.factory} finds too few of the true neighbours, whatever the effort: searches scan"
        return memory | {"reason": reason}
    return memory | {
        "kind": marker.factory,
        "reason": marker.reason,
        "recall": point.recall,
        "recall_interval": [point.low, point.high],
        "recall_queries": tuning.queries,
        "reach": point.effort.reach,
        "candidates": point.effort.candidates,
        "milliseconds": point.milliseconds,
    }
