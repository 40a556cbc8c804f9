"""The configuration made from a TOML file, the environment and arguments, and checked on the way.

Where a key is given more than once, arguments stand above the environment, the environment above the file,
and the file above the defaults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from hsmirror.errors import ConfigurationError
from hsmirror.settings.credentials import KEY_WAYS
from hsmirror.settings.keys import KEYS, TIME, Key, moment, names
from hsmirror.settings.schema import (
    FIELDS,
    ApiSettings,
    ArchiveSettings,
    ExperimentSettings,
    LimitSettings,
    MonitorSettings,
    Settings,
)
from hsmirror.settings.sources import (
    FULL_KEY_TEXT,
    Given,
    Source,
    config_file,
    from_arguments,
    from_environment,
    from_file,
    nearest,
    refuse_unknown,
    shown,
)

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def load(
    *,
    config: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] = _NOTHING,
    cwd: Path,
    user_config_dir: Path,
) -> Settings:
    """The settings, checked. Relative paths start at the file's folder, or at `cwd` if not from a file.

    `config` must exist; None: `hsmirror.toml` in `cwd`, else in `user_config_dir`, else no file. `overrides`
    are arguments by dotted key (`{"archive.path": "here", "experiments": ["exp_1", {"id": "exp_2"}]}`); None
    stands for an option that was not used. `experiments` from arguments or from HSMIRROR_EXPERIMENTS
    (ids, with commas between) replace the file's. Raises ConfigurationError.
    """
    file = config_file(config, cwd, user_config_dir)
    # It starts where a written one would: deleting a line that states a default changes nothing.
    given = {"archive.path": Given(ArchiveSettings().path, file.source if file else Source("default", cwd))}
    if file is not None:
        given |= from_file(file)
    given |= from_environment(environ, cwd)
    given |= from_arguments(overrides, cwd)

    def section(table: str) -> dict[str, Any]:
        return {
            key.partition(".")[2]: _value(key, given[key])
            for key in FIELDS
            if key in given and key.startswith(table)
        }

    return Settings(
        api=ApiSettings(**section("api.")),
        limits=LimitSettings(**section("limits.")),
        archive=ArchiveSettings(**section("archive.")),
        monitor=MonitorSettings(**section("monitor.")),
        experiments=_experiments(given["experiments"]) if "experiments" in given else (),
    )


# --- values are checked one at a time, so that an error can name the one that is wrong --------------------
def _value(key: str, given: Given, shown_key: str = "") -> Any:
    field, rule, value = FIELDS[key], KEYS[key], given.value
    if value == "" and field.default is None:
        return None
    if isinstance(value, date) and rule.expected is TIME:  # TOML has times of its own
        value = value.isoformat()
    place = f"{given.source.label}: {shown_key or key}"
    if value == "" and field.type is Path:  # an unset variable in a script, and not the current folder
        raise ConfigurationError(f"{place} = '': expected {rule.expected}")
    if given.source.strict and FULL_KEY_TEXT.search(str(value)):
        raise ConfigurationError(f"{place} holds an API key, and keys never stand there: {KEY_WAYS}")
    try:
        converted = msgspec.convert(
            value, field.type, strict=given.source.strict, dec_hook=given.source.absolute
        )
        return rule.check(converted)
    except (msgspec.ValidationError, ValueError, OverflowError):
        expected = f"expected {rule.expected}{_hint(rule, value)}"
        # The cause would show what the message leaves out.
        raise ConfigurationError(f"{place} = {shown(key, value)}: {expected}") from None


def _experiments(given: Given) -> tuple[ExperimentSettings, ...]:
    if not isinstance(given.value, (list, tuple)):
        raise ConfigurationError(
            f"{given.source.label}: experiments is a list of tables: write [[experiments]]"
        )
    experiments = tuple(
        _experiment(f"experiments[{n}]", entry, given.source) for n, entry in enumerate(given.value)
    )
    counts = Counter(experiment.id for experiment in experiments)
    repeated = [id_ for id_, count in counts.items() if count > 1]
    if repeated:
        place = f"{given.source.label}: experiments: id = {shown('', repeated[0])}"
        raise ConfigurationError(f"{place} stands there more than once: expected one entry")
    return experiments


def _experiment(place: str, entry: object, source: Source) -> ExperimentSettings:
    content = {"id": entry} if isinstance(entry, str) else entry
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{source.label}: {place} = {shown('', entry)}: expected a table or an id")
    for name in content:
        if name not in names("experiments"):
            refuse_unknown(source, f"key in {place}", str(name), names("experiments"))
    if content.get("id") is None:
        raise ConfigurationError(
            f'{source.label}: {place} has no id: expected id = "…", or id = "*" for every experiment'
        )
    fields = {
        name: _value(f"experiments.{name}", Given(value, source), f"{place}.{name}")
        for name, value in content.items()
        if value is not None
    }
    experiment = ExperimentSettings(**fields)
    start, end = moment(experiment.start_time), moment(experiment.end_time)
    if start and end and start >= end:
        expected = f"expected a time after start_time, {experiment.start_time}"
        raise ConfigurationError(f"{source.label}: {place}.end_time = {experiment.end_time!r}: {expected}")
    return experiment


def _hint(rule: Key, value: object) -> str:
    words = value if isinstance(value, (list, tuple)) else [value]
    for word in words:
        if rule.options and isinstance(word, str) and word not in rule.options:
            close = nearest(word, rule.options)
            return f"; for {shown('', word)}, did you mean {close!r}?" if close else ""
    return ""
