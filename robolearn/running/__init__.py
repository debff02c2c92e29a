"""From a launch file to a run: strict YAML, configurations, verbs by name, run directories."""
