"""A cluster of one's own: a sweep's runs on the machines of a Ray cluster."""
