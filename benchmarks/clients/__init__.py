"""The peers that are no programs of their own: each file here is one, as its users would write it."""
