"""Runs side by side: by condition, over seeds."""
