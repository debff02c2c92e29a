"""The adapter for robosuite."""
