"""Real robots behind the same contract as simulators: the driver interface is not built yet."""
