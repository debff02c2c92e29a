"""Sessions in which demonstrations are collected."""
