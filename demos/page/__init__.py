"""The page in the browser: an input surface, and a view of a session."""
