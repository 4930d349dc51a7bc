"""A collection's vectors made anew by another encoder: resumable, compared with the old ones, switched at once."""

from nearfield.migrate.background import BackgroundMigration
from nearfield.migrate.report import Comparison, MigrationReport
from nearfield.migrate.work import Manner, MigrateKeywords, Target, run

__all__ = ["BackgroundMigration", "Comparison", "Manner", "MigrateKeywords", "MigrationReport", "Target", "run"]
