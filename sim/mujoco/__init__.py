"""The adapter for one's own MuJoCo models, with tasks made of names."""
