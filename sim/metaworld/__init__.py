"""The adapter for Meta-World, a package that is installed by itself."""
