"""The adapter for dm_control, and its small tasks as formulas on arrays."""
