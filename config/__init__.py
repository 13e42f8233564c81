"""Typed settings read from JSON."""
