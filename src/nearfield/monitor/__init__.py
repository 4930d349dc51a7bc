"""Watching a collection at work: metrics for Prometheus."""
