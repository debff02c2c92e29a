"""The verb ``teleop``: a device, a session and what shows it, put together."""
