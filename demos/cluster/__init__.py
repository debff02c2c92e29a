"""A cluster of one's own: a sweep's runs, and environments of a learner, on Ray."""
