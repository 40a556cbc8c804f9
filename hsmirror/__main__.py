"""`python -m hsmirror` is the `hsmirror` command."""

import sys

from hsmirror.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
