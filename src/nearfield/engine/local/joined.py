"""The vectors' index as it searches one state."""

from __future__ import annotations

from dataclasses import dataclass

from nearfield.engine.local.state import State
from nearfield.index.folder import Marker
from nearfield.index.nearest import Nearest


@dataclass(slots=True)
class Joined:
    """The index as it searches a state.

    Args:
        marker: Of the index.
        lineage: Of the state.
        generation: Of the state.
        nearest: Searches it; None: there is no index for it.
        until: When to look again whether another process has replaced the index; this one stays right until then.
    """

    marker: Marker
    lineage: object
    generation: int
    nearest: Nearest | None
    until: float = 0.0

    def fits(self, state: State) -> bool:
        """Return whether it is of a state."""
        return self.generation == state.generation and self.lineage is state.lineage
