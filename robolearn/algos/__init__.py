"""Methods: one file each, from the paper's equations to ``act`` and ``update``."""
