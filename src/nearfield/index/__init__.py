"""Vectors → neighbours. The exact scan is the reference that every other index is measured against."""
