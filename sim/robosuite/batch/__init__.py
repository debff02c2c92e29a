"""Robosuite's common tasks in batches: a leaner model, and its formulas on arrays."""
