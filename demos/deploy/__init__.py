"""Policies on robots: episodes are recorded as always, and a person may take over."""
