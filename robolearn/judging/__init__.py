"""Verdicts on demonstrations: who fits the policy, and how sure that is."""
