"""Hypothesis without deadlines: on a busy machine the first example of a test can take long."""

from hypothesis import settings

settings.register_profile("hsmirror", deadline=None)
settings.load_profile("hsmirror")
