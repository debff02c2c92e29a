"""Rewards as streams: terms of the environment, and skill discovery."""
