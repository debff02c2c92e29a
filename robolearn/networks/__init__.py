"""Networks and the formulas that methods share."""
