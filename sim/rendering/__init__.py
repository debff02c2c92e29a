"""Camera images without a screen."""
