"""Whatever happens in whatever order: nothing held is lost, and nothing is called complete that is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsmirror.archive.verify import verify
from reliability.model import ArchiveMachine, measure
from reliability.model_steps import damage


@pytest.fixture
def machine() -> Iterator[ArchiveMachine]:
    machine = ArchiveMachine()
    machine.two_rooms()
    yield machine
    machine.teardown()


def damage_shard(machine: ArchiveMachine, kind: str, room: str, how: str) -> None:
    (shard,) = machine.archive.glob(f"*/data_type={kind}/room_id={room}/*.gz")
    damage(shard, how)
    machine.damaged.add(shard.relative_to(machine.archive).as_posix())
    machine.salvaged.add((kind, room))
    machine.committed.pop((kind, room), None)


# Found by the machine.
def test_rows_that_name_no_room_are_held_once_though_the_list_of_rooms_failed_at_first(
    machine: ArchiveMachine,
) -> None:
    machine.lab.broken = {"events", "rooms"}
    machine.run()
    machine.lab.broken = set()
    report = machine.run()
    rows = {each.data_type: each.rows for each in report.experiments[0].types}
    assert rows["ratings/sparse"] == sum(map(len, machine.lab.now["ratings/sparse"].values()))


def test_a_type_listed_by_room_is_not_complete_where_rooms_may_be_new(machine: ArchiveMachine) -> None:
    machine.run()
    machine.a_room_opens()
    machine.lab.broken = {"rooms"}
    types = {each.data_type: each for each in machine.run().experiments[0].types}
    assert not types["variables"].is_complete


def test_a_total_that_agrees_proves_nothing_where_rooms_may_be_new(machine: ArchiveMachine) -> None:
    machine.lab.add_rows("events", "room_1", 3)
    machine.run()
    machine.time_passes(hours=49)
    machine.run()
    machine.a_room_opens()
    machine.lab.delete_rows("events", "room_1", len(machine.lab.now["events"]["room_3"]))
    machine.sync_while_the_server_fails(broken={"rooms"})
    machine.sync(full=False)


def test_a_full_run_marks_as_gone_what_a_vanished_room_had_in_lists_read_by_room(
    machine: ArchiveMachine,
) -> None:
    machine.run()
    machine.lab.remove_room("room_1")
    machine.sync(full=True)


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_what_is_left_of_a_vanished_room_is_salvaged_though_no_other_type_is_read_in_a_repair(
    machine: ArchiveMachine, how: str
) -> None:
    machine.run()
    machine.lab.remove_room("room_1")
    machine.sync(full=True)
    damage_shard(machine, "variables", "room_1", how)
    machine.what_verify_finds_is_repaired()
    assert verify(machine.archive).is_sound
    machine.sync(full=True)


def test_a_damaged_row_of_a_room_does_not_put_the_other_types_in_doubt(machine: ArchiveMachine) -> None:
    machine.run()
    machine.lab.remove_room("room_1")
    machine.run()
    damage_shard(machine, "rooms", "room_1", "gone")
    machine.lab.add_rows("events", "room_2", 1)
    types = {each.data_type: each.is_complete for each in machine.run().experiments[0].types}
    assert types == {"events": True, "ratings/sparse": True, "rooms": False, "variables": True}


def test_nobody_who_is_forgotten_comes_back_with_a_room_that_is_read_for_another_reason(
    machine: ArchiveMachine,
) -> None:
    machine.run()
    machine.a_person_is_forgotten("person_one")
    machine.lab.add_rows("events", "room_2", 5)
    machine.sync(full=False)
    machine.sync(full=True)
    machine.nobody_who_is_forgotten_is_in_any_byte()
    assert machine.gone == {"person_one"}


def test_the_rows_that_are_to_be_forgotten_are_there_before(machine: ArchiveMachine) -> None:
    machine.run()
    machine.gone = {"person_one"}
    with pytest.raises(AssertionError, match="person_one is in"):
        machine.nobody_who_is_forgotten_is_in_any_byte()


@pytest.mark.timeout(400)
def test_the_archive_agrees_with_a_dictionary_in_whatever_order_things_happen(tmp_path: Path) -> None:
    figures = measure(workdir=tmp_path)
    assert figures.failures == ()
    counts = dict(figures.counts)
    assert int(counts["syncs"]) >= 50
    assert int(counts["syncs that were killed"]) >= 10
    assert int(counts["syncs while the server failed"]) >= 10
    assert int(counts["shards damaged"]) >= 5
    assert int(counts["repairs"]) >= 2
    assert int(counts["checks by verify"]) >= 10
    assert int(counts["people forgotten"]) >= 10
    assert int(counts["removals of people that were killed"]) >= 10


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_and_in_many_more_and_longer_orders(tmp_path: Path) -> None:
    assert measure(long=True, workdir=tmp_path).failures == ()
