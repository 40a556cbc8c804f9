"""Fewest requests and shortest runs: real runs in virtual time, held against what is least possible."""
