"""The API key: from the environment, a file or a command, and never from the configuration itself."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsmirror.errors import ConfigurationError
from hsmirror.model import Secret

if TYPE_CHECKING:
    from hsmirror.settings.schema import Settings

KEY_WAYS: Final = (
    "set HYPERSTUDY_API_KEY, or name a file that holds the key in api.key_file, "
    "or a command that prints it in api.key_command"
)
"""The three right ways to give the key; for errors to name."""

_KEY_LENGTH_LIMIT: Final = 4096
_KEY_COMMAND_SECONDS: Final = 30.0


def api_key(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run,
) -> Secret:
    """The key: from HYPERSTUDY_API_KEY, else from `api.key_file`, else from what `api.key_command` prints.

    White space around it is dropped. A key file that is ours and open to the world is refused; one of another
    owner, or on a read-only file system (both are so in the secrets of Docker and Kubernetes), is not, as it
    is not ours to close. Raises ConfigurationError, whose text never holds the key nor a command's output.
    """
    text, source = environ.get("HYPERSTUDY_API_KEY", "").strip(), "HYPERSTUDY_API_KEY"
    if not text and settings.api.key_file is not None:
        text, source = _key_in(settings.api.key_file), f"api.key_file {str(settings.api.key_file)!r}"
    elif not text and settings.api.key_command:
        text, source = _key_from(settings.api.key_command, environ, run), "api.key_command"
    elif not text:
        raise ConfigurationError(f"there is no API key: {KEY_WAYS}")
    if not text:
        raise ConfigurationError(f"{source}: there is no API key in it: expected the key alone")
    if len(text) > _KEY_LENGTH_LIMIT or not all("!" <= character <= "~" for character in text):
        raise ConfigurationError(
            f"{source}: what it gives is no API key (too long, or with spaces, line breaks or characters "
            "beyond ASCII within; it is not shown): expected the key alone"
        )
    return Secret(text)


def _key_in(path: Path) -> str:
    place = f"api.key_file {str(path)!r}"
    try:
        with path.open("rb") as file:
            if os.name == "posix" and _is_ours_and_open(file.fileno()):
                mend = f"run chmod 600 {shlex.quote(str(path))}"
                raise ConfigurationError(f"{place}: every user of this machine may open it: {mend}")
            content = file.read(_KEY_LENGTH_LIMIT * 2)
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be read: {error.strerror}") from error
    return content.decode("latin-1").strip()


def _is_ours_and_open(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    may_change = found.st_uid == os.geteuid() and not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
    return stat.S_ISREG(found.st_mode) and may_change and bool(found.st_mode & stat.S_IRWXO)


def _key_from(
    command: str, environ: Mapping[str, str], run: Callable[..., subprocess.CompletedProcess[bytes]]
) -> str:
    try:
        result = run(
            shlex.split(command),
            env=dict(environ),
            stdin=subprocess.DEVNULL,  # a question nobody can answer at night fails at once
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_KEY_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # The cause would show the command, which may hold a secret, and what it printed so far.
        raise ConfigurationError(
            f"api.key_command: it took longer than {_KEY_COMMAND_SECONDS:.0f} s: run it by hand"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a command"
        raise ConfigurationError(f"api.key_command: it could not be started: {reason}") from None
    if result.returncode:
        raise ConfigurationError(
            f"api.key_command: it ended with status {result.returncode}: run it by hand to see why"
        )
    return result.stdout.decode("latin-1").strip()
