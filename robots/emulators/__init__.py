"""Servos that are not there: buses on a pseudo-terminal that answer byte by byte."""
