"""Checking, mending and copying a local collection: what is done with its files from outside."""
