"""`lab`: the built-in lab as a server of its own."""

from __future__ import annotations

import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from hsmirror.cli import signals
from hsmirror.cli.invocation import Injected
from hsmirror.cli.output import Output
from hsmirror.errors import UsageError
from hsmirror.settings.quantities import parse_duration, parse_size

if TYPE_CHECKING:
    from hsmirror.lab.data import MadeUpSource
    from hsmirror.lab.server import Lab, LabOptions

PORT = 8765
_SHOWN = Parameter(show_default=True)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Data:
    """What there is; the same seed gives the same data."""

    experiments: Annotated[int, _SHOWN, Parameter(help="Experiments.")] = 1
    rooms: Annotated[int, _SHOWN, Parameter(help="Rooms of each experiment.")] = 4
    participants: Annotated[int, _SHOWN, Parameter(help="Participants of each room.")] = 2
    events: Annotated[int, _SHOWN, Parameter(help="Events of each room; other types scale with them.")] = 120
    recordings: Annotated[int, _SHOWN, Parameter(help="Recordings of each room.")] = 2
    recording_size: Annotated[
        str | None, Parameter(help="The size of each recording, such as 50MB. Else small ones.")
    ] = None
    seed: Annotated[int, _SHOWN, Parameter(help="Another seed, other data.")] = 1


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Behaviour:
    """How it answers."""

    mint: Annotated[
        bool,
        Parameter(
            negative="--inline",
            help="Addresses of recordings are asked for, or stand in the rows.",
        ),
    ] = False
    address_life: Annotated[str, _SHOWN, Parameter(help="How long a signed address is good.")] = "7d"
    requests_per_hour: Annotated[int, _SHOWN, Parameter(help="What a key may ask for; 0: no limits.")] = 1000
    requests_per_minute: Annotated[int, _SHOWN, Parameter(help="The same, at one endpoint.")] = 100
    page_cap: Annotated[int, _SHOWN, Parameter(help="The largest page that is granted, in rows.")] = 10_000
    latency: Annotated[str, Parameter(help="What each answer waits, such as 50ms.")] = "0s"
    pagination: Annotated[
        Literal[
            "document",
            "fixture",
            "flat",
            "none",
            "null-next",
            "string-numbers",
            "total-high",
            "total-low",
            "no-total",
            "early-end",
        ],
        _SHOWN,
        Parameter(help="How answers tell of further pages: as documented, or as servers were seen to."),
    ] = "document"
    no_rooms_endpoint: Annotated[bool, Parameter(help="No list of an experiment's rooms.")] = False
    older: Annotated[bool, Parameter(help="None of the newer endpoints, rooms included.")] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong."""

    fault: Annotated[
        tuple[str, ...],
        Parameter(help="NAME or NAME=RATE, a share of the answers: a fault that strikes. Repeatable; seeded."),
    ] = ()
    list_faults: Annotated[bool, Parameter(help="Only list the faults there are.")] = False


_DATA, _BEHAVIOUR, _NO_TROUBLE = Data(), Behaviour(), Trouble()


def lab(
    *,
    port: Annotated[int, _SHOWN, Parameter(help="The API's port; 0: any that is free.")] = PORT,
    data: Data = _DATA,
    behaviour: Behaviour = _BEHAVIOUR,
    trouble: Trouble = _NO_TROUBLE,
    invocation: Injected,
) -> int:
    """Serve made-up data under the documented limits until Ctrl-C."""
    if trouble.list_faults or "help" in trouble.fault:
        _list_faults(invocation.output)
        return 0
    options = lab_options(data, behaviour, trouble)
    try:
        signals.run(lambda: _serve(options, port, invocation.output))
    except signals.Interruption:
        invocation.output.say("ended")  # as was meant: nothing was interrupted
    return 0


def lab_options(data: Data, behaviour: Behaviour, trouble: Trouble = _NO_TROUBLE) -> LabOptions:
    """The same for the server. Raises UsageError."""
    from hsmirror.lab.answers import AnswerOptions, EndpointOptions
    from hsmirror.lab.faults import lab_faults
    from hsmirror.lab.limits import LimitOptions
    from hsmirror.lab.server import LabOptions
    from hsmirror.lab.shape import LabShape
    from hsmirror.lab.storage import StorageOptions

    shape = LabShape(
        seed=data.seed,
        experiments=data.experiments,
        rooms=data.rooms,
        participants=data.participants,
        events_per_room=data.events,
        recordings_per_room=data.recordings,
        recording_bytes=None if data.recording_size is None else _size("--recording-size", data.recording_size),
    )
    newer = not behaviour.older
    return LabOptions(
        shape=shape,
        limits=LimitOptions(behaviour.requests_per_hour, behaviour.requests_per_minute)
        if behaviour.requests_per_hour
        else None,
        storage=StorageOptions(
            addresses="minted" if behaviour.mint else "inline",
            address_seconds=round(_seconds("--address-life", behaviour.address_life)),
        ),
        answers=AnswerOptions(
            pagination=behaviour.pagination,
            page_cap=behaviour.page_cap,
            latency_seconds=_seconds("--latency", behaviour.latency),
        ),
        endpoints=EndpointOptions(
            rooms=newer and not behaviour.no_rooms_endpoint,
            newer_types=newer,
            experiments=newer,
            deployments=newer,
        ),
        faults=lab_faults(trouble.fault, seed=data.seed),
    )


def _list_faults(output: Output) -> None:
    from hsmirror.cli.tables import compact_table
    from hsmirror.lab.faults import FAULTS

    if output.is_json:
        output.document(
            [
                {"name": each.name, "does": each.does, "outcome": each.outcome.value, "rate": each.rate}
                for each in FAULTS.values()
            ]
        )
        return
    rows = [
        (each.name, each.does, each.outcome.value, "always" if each.rate is None else f"{each.rate:g}")
        for each in FAULTS.values()
    ]
    output.result(compact_table(("fault", "what the server does", "a client", "rate"), rows))


async def _serve(options: LabOptions, port: int, output: Output) -> None:
    import anyio

    from hsmirror.lab.server import running_lab

    with tempfile.TemporaryDirectory(prefix="hsmirror-lab-") as folder:
        try:
            async with running_lab(options, files_dir=Path(folder), port=port) as running:
                _introduce(running, output)
                await anyio.sleep_forever()
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            raise UsageError(f"port {port} cannot be had: give another with --port, or 0 for any") from error


def _introduce(running: Lab[MadeUpSource], output: Output) -> None:
    experiments = running.source.experiment_ids()
    if output.is_json:
        output.document(
            {
                "base_url": running.base_url,
                "storage_url": running.storage_url,
                "key": running.key,
                "experiments": experiments,
            }
        )
        return
    shown = "'*'" if running.options.endpoints.experiments else " ".join(experiments)
    surroundings = f"HYPERSTUDY_BASE_URL={running.base_url} HYPERSTUDY_API_KEY={running.key}"
    lines = [
        f"API      {running.base_url}",
        f"storage  {running.storage_url}",
        f"key      {running.key}",
        "",
        f"{surroundings} hsmirror sync {shown} --archive out",
        "",
        "Ctrl-C ends it.",
    ]
    output.text("\n".join(lines))


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise UsageError(f"{option} {text}: give a size such as 50MB or 1GiB") from None


def _seconds(option: str, text: str) -> float:
    """As in the configuration, and milliseconds."""
    try:
        return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else parse_duration(text)
    except ValueError:
        raise UsageError(f"{option} {text}: give a duration such as 7d, 2h30m or 50ms") from None
