"""Real robots behind the same contract as simulators: interface, safety, drivers, a twin."""
