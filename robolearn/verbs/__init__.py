"""What launch files can do: each verb puts rooms together, other rooms than its own by name."""
