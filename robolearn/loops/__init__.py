"""Loops that policies and learners run in: rollouts, training, evaluation, checkpoints."""
