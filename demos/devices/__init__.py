"""Who gives actions: keyboards, gamepads, 3D mice, replays, policies with a person beside them."""
