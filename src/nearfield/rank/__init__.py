"""Ranking: pure functions over scores and arrays."""
