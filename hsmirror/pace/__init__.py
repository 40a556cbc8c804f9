"""Policies without I/O: the budget of requests, what goes next, when to try again."""
