"""Datasets on disk: episode files, their index, training arrays, repairs."""
