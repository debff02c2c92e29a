"""The adapter for gymnasium's registered environments."""
