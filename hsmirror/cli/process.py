"""The process that the `hsmirror` command is: how it starts and how it ends."""

from __future__ import annotations

import gc
import sys

from hsmirror.errors import Exit

_OBJECTS_A_COLLECTION = 20_000
_SWITCH_SECONDS = 0.0005


def run() -> int:
    """Runs the command that the process was started with, and returns its exit status."""
    # Modules and pages are many objects and hardly any garbage: to look for it after every few hundred of them,
    # as Python does, takes a tenth of a short run.
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    # How long a thread that writes waits for the one that parses: a tenth of Python's default, since the first
    # has a dozen short calls to make for each of the other's long ones.
    sys.setswitchinterval(_SWITCH_SECONDS)

    try:
        from hsmirror.cli.main import main
    except KeyboardInterrupt:  # nothing has been begun yet
        sys.stderr.write("hsmirror: interrupted\n")
        return Exit.INTERRUPTED
    status = main()
    # What is left is not looked through once more as the interpreter ends, which would take another tenth.
    gc.freeze()
    return status
