"""Where configured values come from: a TOML file, the environment, arguments. Each knows who gave it.

Names are checked here, so that an unknown one is told with the nearest right one; values are not.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final, NoReturn

from hsmirror.errors import ConfigurationError
from hsmirror.settings.credentials import KEY_WAYS
from hsmirror.settings.keys import KEYS, TABLES, names

FILE_NAME: Final = "hsmirror.toml"
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "HYPERSTUDY_BASE_URL": "api.base_url",  # the official SDK's name; below HSMIRROR_API__BASE_URL
    **{f"HSMIRROR_{key.replace('.', '__').upper()}": key for key in KEYS if not key.startswith("experiments.")},
    "HSMIRROR_EXPERIMENTS": "experiments",
}
_OF_KUBERNETES: Final = re.compile(
    r"HSMIRROR_(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_[0-9]+_.*)?)"
)
"""Set in each pod for every service whose name begins with `hsmirror`: nobody's mistake."""
_KEY_NAMES = frozenset({"key", "api_key", "apikey", "secret", "token", "hyperstudy_api_key"})
_SHOWN_LENGTH: Final = 80
_KEY_TEXT = re.compile(r"hst_(?:live|test)_\w*")
FULL_KEY_TEXT: Final = re.compile(r"hst_(?:live|test)_\w{32}")
"""A whole API key: wherever one stands in a configuration, it is refused."""


# --- what a source is ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Source:
    """Who gave a value: what an error calls it, and the folder where its relative paths start."""

    label: str
    folder: Path
    strict: bool = True
    """False: values are texts, to be read as numbers where a number is due."""

    def absolute(self, _: type, path: object) -> Path:
        """A path from where it starts; the hook that msgspec calls for a `Path`. Raises ValueError."""
        if not isinstance(path, (str, PurePath)) or not str(path) or "\0" in str(path):
            raise ValueError("not a path")
        try:
            return self.folder / Path(path).expanduser()
        except RuntimeError:  # `~somebody`, and there is no such user
            raise ValueError("not a path") from None


@dataclass(frozen=True, slots=True)
class Given:
    """A value, not checked yet, and who gave it."""

    value: Any
    source: Source


# --- the three of them -----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class File:
    """A configuration file that was found, not read as TOML yet."""

    source: Source
    content: bytes


def config_file(config: Path | None, cwd: Path, user_config_dir: Path) -> File | None:
    """The file to read: `config`, else the first that is there of the two usual ones, else None.

    Raises ConfigurationError where `config` is missing, or any of them cannot be read.
    """
    candidates = (Path(FILE_NAME), user_config_dir / FILE_NAME) if config is None else (config,)
    for path in candidates:
        place = cwd / path
        try:
            return File(Source(str(path), place.parent), place.read_bytes())
        except FileNotFoundError as error:
            if config is not None:
                raise ConfigurationError(f"{path}: there is no such file: hsmirror init writes one") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not the path of a file"
            raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    return None


def from_file(file: File) -> dict[str, Given]:
    """Its values by dotted key. Raises ConfigurationError: no TOML, or an unknown table or key."""
    try:
        # Notepad begins files with a byte order mark, which TOML does not know.
        text = file.content.decode("utf-8-sig")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # The cause may hold the whole text, and with it whatever was written there by mistake.
        fault = _toml_fault(error, file.content)
        raise ConfigurationError(f"{file.source.label}: it is not TOML: {fault}") from None
    return {key: Given(value, file.source) for key, value in _flat(document, file.source)}


def _toml_fault(error: Exception, content: bytes) -> str:
    match error:
        case UnicodeDecodeError():
            line = content.count(b"\n", 0, error.start) + 1
            column = error.start - content.rfind(b"\n", 0, error.start)
            return f"not UTF-8 (at line {line}, column {column})"
        case RecursionError():
            return "tables or lists nested too deeply"
        case _:
            lines = content.split(b"\n")
            end = f"(at line {len(lines)}, column {len(lines[-1]) + 1})"
            text = _KEY_TEXT.sub("hst_…", str(error)).replace("(at end of document)", end)
            return "".join(character if character.isprintable() else "�" for character in text)


def _flat(document: Mapping[str, Any], source: Source) -> Iterator[tuple[str, Any]]:
    for table, content in document.items():
        if table not in TABLES:
            refuse_unknown(source, "table", table, TABLES)
        if table == "experiments":
            yield table, content
            continue
        if not isinstance(content, dict):
            raise ConfigurationError(f"{source.label}: {table} is a table: write [{table}], and its keys below")
        for name in content:
            if f"{table}.{name}" not in KEYS:
                refuse_unknown(source, f"key in [{table}]", name, names(table))
            yield f"{table}.{name}", content[name]


def from_environment(environ: Mapping[str, str], cwd: Path) -> dict[str, Given]:
    """The values of our variables by dotted key. Raises ConfigurationError for a misspelt one."""
    for name in environ:
        is_ours = name.startswith("HSMIRROR_") and ("__" in name or not _OF_KUBERNETES.fullmatch(name))
        if is_ours and name not in _ENVIRONMENT:
            refuse_unknown(Source("the environment", cwd), "variable", name, _ENVIRONMENT)
    given = {}
    for name, key in _ENVIRONMENT.items():
        text = environ.get(name)
        if text is None or (name == "HYPERSTUDY_BASE_URL" and not text):
            continue
        ids = [id_.strip() for id_ in text.split(",") if id_.strip()]
        given[key] = Given(ids if key == "experiments" else text, Source(name, cwd, strict=False))
    return given


def from_arguments(overrides: Mapping[str, object], cwd: Path) -> dict[str, Given]:
    """The arguments that were used (not None) by dotted key. Raises ConfigurationError for an unknown key."""
    source = Source("an argument", cwd)
    known = dict.fromkeys(_ENVIRONMENT.values())
    for key in overrides:
        if key not in known:
            refuse_unknown(source, "key", key, known)
    return {key: Given(value, source) for key, value in overrides.items() if value is not None}


# --- what is told of them --------------------------------------------------------------------------------
def refuse_unknown(source: Source, kind: str, name: str, known: Iterable[str]) -> NoReturn:
    """Raise the ConfigurationError for an unknown name, with the nearest right one.

    What stands under the name is never shown: it may be a key under a misspelt one.
    """
    bare = name.lower().removeprefix("hsmirror_").removeprefix("api__").removeprefix("api.")
    if bare in _KEY_NAMES or FULL_KEY_TEXT.search(name):
        place = f"{source.label}: {shown('', name)}"
        raise ConfigurationError(f"{place}: the API key never stands there: {KEY_WAYS}")
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
    raise ConfigurationError(f"{source.label}: there is no {kind} {shown('', name)}; {hint}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant; None where none is near."""
    spelt = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word[:_SHOWN_LENGTH].casefold(), spelt, n=1, cutoff=0.5)
    return spelt[close[0]] if close else None


def shown(key: str, value: object) -> str:
    """A value as an error may show it: cut, escaped, and nothing where a secret may be in it."""
    text = repr(value)
    if key in {"api.key_command", "monitor.ping_url"} or (
        key == "api.base_url" and any(sign in text for sign in "@?#")
    ):
        return "(not shown: it may hold a secret)"
    text = _KEY_TEXT.sub("hst_…", text)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"
