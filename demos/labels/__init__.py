"""People who say which of two pieces of behaviour is better, in the browser or a terminal."""
