"""hsmirror keeps a complete, verified, readable copy of a lab's HyperStudy data."""

__version__ = "0.1.0"
