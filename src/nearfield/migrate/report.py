"""What a migration did, and how the new vectors compare with the old ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfield.evaluate import Report


@dataclass(frozen=True)
class Comparison:
    """How the collection answers with the new vectors, beside how it does with the old ones.

    Attributes:
        basis: "judgements" (of queries, with `old` and `new`), "queries" (without judgements), or "documents": a sample
            of the collection's own, each asked for its nearest neighbours.
        queries: How many queries or documents were asked.
        k: How many hits of each were looked at; 0 with judgements.
        overlap: Mean share of the k best hits that are the same, in any order, from 0 to 1; None with judgements. It
            says how much changes, and not which is better. Hits drawn by lot would give k divided by the documents.
        old: Measures of the search with the old vectors; None without judgements.
        new: Measures of the search with the new ones.
    """

    basis: str
    queries: int
    k: int = 0
    overlap: float | None = None
    old: Report | None = None
    new: Report | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts and numbers; of reports, the means and intervals."""
        fields: dict[str, Any] = {"basis": self.basis, "queries": self.queries}
        if self.old is None or self.new is None:
            return fields | {"k": self.k, "overlap": self.overlap}
        reports = {"old": self.old, "new": self.new}
        measured = {
            measure: {side: report.mean[measure] for side, report in reports.items()} for measure in self.old.mean
        }
        return fields | {"mean": measured}

    def __str__(self) -> str:
        if self.old is None or self.new is None:
            return f"overlap@{self.k} of old and new: {self.overlap:.3f} ({self.queries} {self.basis})"
        width = max(map(len, ["measure", *self.old.mean]))
        lines = [f"{'measure':<{width}}  old     new     ({self.queries} judged queries)"]
        lines += [f"{name:<{width}}  {self.old.mean[name]:.4f}  {self.new.mean[name]:.4f}" for name in self.old.mean]
        return "\n".join(lines)


@dataclass(frozen=True)
class MigrationReport:
    """What a migration did.

    Attributes:
        old_encoder: Name of the encoder that the collection had.
        new_encoder: Name of the other one.
        documents: Documents of the collection that have vectors of the new one now.
        encoded: Of these, how many this call encoded; an earlier call that was cut off had encoded the others.
        switched: Whether the collection has the new vectors now.
        comparison: Of old and new, made before the switch; None if none was asked for, or the collection has fewer than
            two documents.
        already: Whether the vectors were the other encoder's before, so that nothing was to be done.
    """

    old_encoder: str
    new_encoder: str
    documents: int
    encoded: int
    switched: bool
    comparison: Comparison | None = None
    already: bool = False

    def after_switch(self, documents: int, encoded: int) -> MigrationReport:
        """Return the report with what the switch added."""
        return replace(self, documents=documents, encoded=self.encoded + encoded, switched=True)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, strings and numbers, ready for JSON."""
        comparison = None if self.comparison is None else self.comparison.to_dict()
        return {
            "old_encoder": self.old_encoder,
            "new_encoder": self.new_encoder,
            "documents": self.documents,
            "encoded": self.encoded,
            "switched": self.switched,
            "already": self.already,
            "comparison": comparison,
        }

    def __str__(self) -> str:
        if self.already:
            return f"The vectors are those of {self.new_encoder!r} already."
        lines = [f"{self.old_encoder} → {self.new_encoder}: {self.documents:,} documents, {self.encoded:,} encoded now"]
        if self.comparison is not None:
            lines.append(str(self.comparison))
        lines.append("The collection has the new vectors." if self.switched else "The collection has the old vectors.")
        return "\n".join(lines)
