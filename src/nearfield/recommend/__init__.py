"""Recommendation: documents that fit tastes."""

from nearfield.recommend.tastes import STRATEGIES, Tastes, recommend

__all__ = ["STRATEGIES", "Tastes", "recommend"]
