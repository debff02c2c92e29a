"""Sweeps: many runs of one launch file, which differ in some settings."""
