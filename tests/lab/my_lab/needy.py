"""A module whose own code is wrong."""

import a_module_that_nobody_has  # noqa: F401
