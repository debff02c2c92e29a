"""Skills that were discovered: what they do, and how goals are reached with them."""
