"""How good is a dataset? Measures of every episode, of whatever format, and what stands out."""
