"""Somebody else's package: tests copy it into a temporary folder."""
