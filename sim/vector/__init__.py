"""Batches of environments: episodes, seeds, masks; and the processes that run what is Python."""
