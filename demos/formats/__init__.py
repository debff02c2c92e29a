"""Everybody's data: one file per format, all of them read and written as episodes."""
