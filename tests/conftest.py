"""What all tests rely on."""

import signal


def pytest_configure() -> None:
    """Have Ctrl-C interrupt also where the tests run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
