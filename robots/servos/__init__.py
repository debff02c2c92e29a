"""Serial servos: their memory, and exchanges with them through their makers' packages."""
