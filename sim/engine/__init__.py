"""Compiled code: robosuite's control step, and plain MuJoCo models in batches."""
