"""hsmirror and its peers, side by side on the same server and the same data: `python -m benchmarks`."""
