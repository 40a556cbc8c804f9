"""`python -m hsmirror` is the `hsmirror` command."""

import sys

from hsmirror.cli.process import run

if __name__ == "__main__":
    sys.exit(run())
