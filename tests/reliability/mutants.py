"""Safeguards taken out one at a time, each in a copy of the tree: some test has to notice.

A mutant names one text of one file, which has to stand there exactly once, so that the list cannot rot. The
tests that should notice it are named, too; they have to pass where nothing is taken out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from reliability.figures import Figures

TREE = Path(__file__).parents[2]
SAMPLE_EVERY = 7
"""The short form takes each n-th mutant."""

_AT_ONCE = 2
_LONGEST_SECONDS = 600
_FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)

ORDER = "tests/archive/test_durable_order.py"
DURABLE = "tests/archive/test_durable.py"
TRANSPORT = "tests/api/test_transport.py"
STORAGE = "tests/api/test_transport_files.py"
FILES = "tests/mirror/test_files_proof.py"
OBJECTS = "tests/mirror/test_recording_objects.py"
SIGNED = "tests/faults/test_signed_addresses.py"
WHOLE = "tests/faults/test_whole_recordings.py"
ADDRESSES = "tests/api/test_addresses.py"
PROOF = "tests/mirror/test_proof.py"
FILING = "tests/mirror/test_filing.py"
RECEIPTS = "tests/fuzz/test_hostile_receipts.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One safeguard taken out. `file` is below `hsmirror/`; `noticed_by` are arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    noticed_by: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = (
    # --- what is on the disk, and when ---
    Mutant(
        "a file is not synced",
        "archive/durable.py",
        "os.open(path, os.O_RDONLY)\n        try:\n            os.fsync(descriptor)",
        "os.open(path, os.O_RDONLY)\n        try:\n            pass",
        (ORDER,),
    ),
    Mutant(
        "a folder is not synced",
        "archive/durable.py",
        "os.open(folder, os.O_RDONLY)\n        try:\n            os.fsync(descriptor)",
        "os.open(folder, os.O_RDONLY)\n        try:\n            pass",
        (ORDER,),
    ),
    Mutant(
        "a small file takes its place without being synced",
        "archive/durable.py",
        "            append(staged, piece, modes)\n        sync_file(staged)\n",
        "            append(staged, piece, modes)\n",
        (DURABLE,),
    ),
    Mutant(
        "a new folder's name is not synced",
        "archive/durable.py",
        "        _make(folder, modes)\n        sync_folder(folder.parent)\n",
        "        _make(folder, modes)\n",
        (ORDER,),
    ),
    Mutant(
        "the names of new folders are not synced",
        "archive/durable.py",
        "    for parent in dict.fromkeys(folder.parent for folder in new):\n        sync_folder(parent)\n",
        "",
        (ORDER,),
    ),
    Mutant(
        "the folder of a published file is not synced",
        "archive/durable.py",
        "    (sync_folders or _sync_folders)(folders)\n",
        "",
        (ORDER, DURABLE),
    ),
    Mutant(
        "the older generation's name is not synced",
        "archive/durable.py",
        "    for folder in kept:\n        sync_folder(folder)\n",
        "",
        (ORDER,),
    ),
    Mutant(
        "the older generation is not kept",
        "archive/durable.py",
        "            keep(root, move.final, move.superseded, modes)\n            kept",
        "            kept",
        (DURABLE,),
    ),
    Mutant(
        "a retired file goes before its other name is synced",
        "archive/durable.py",
        "    sync_folder(superseded.parent)\n    with disk_errors",
        "    with disk_errors",
        (ORDER,),
    ),
    Mutant(
        "the folder of a retired file is not synced",
        "archive/durable.py",
        "        current.unlink()\n    sync_folder(current.parent)\n",
        "        current.unlink()\n",
        (ORDER,),
    ),
    Mutant(
        "staged files are not synced",
        "mirror/commit.py",
        "            durable.sync_staged(placement.staged)\n",
        "            pass\n",
        (ORDER,),
    ),
    Mutant(
        "what comes from memory is not synced",
        "mirror/commit.py",
        "placement.content, self._modes, synced=True)",
        "placement.content, self._modes)",
        (ORDER,),
    ),
    Mutant(
        "the names of staged files are not synced before an intent relies on them",
        "mirror/commit.py",
        "                    durable.sync_folder(folder)\n                self._receipts",
        "                    pass\n                self._receipts",
        (ORDER,),
    ),
    Mutant(
        "receipts come before their files",
        "mirror/commit.py",
        "            moves = [self._move(placement) for placement in placements]\n",
        "            self._receipts.append([receipt for commit in group for receipt in commit.all_receipts])\n"
        "            moves = [self._move(placement) for placement in placements]\n",
        (ORDER,),
    ),
    Mutant(
        "nothing is intended",
        "mirror/commit.py",
        "        if not (replaces or commit.retired or len(commit.placements) > 1 or is_recording):",
        "        if True:",
        (ORDER,),
    ),
    Mutant(
        "a recording is placed without an intent",
        "mirror/commit.py",
        " or is_recording):",
        "):",
        ("tests/mirror/test_files.py",),
    ),
    Mutant(
        "a line that is no receipt of ours counts",
        "archive/segments.py",
        "LineDecoder(_decoder, _require_as_written)",
        "LineDecoder(_decoder)",
        ("tests/archive/test_segments.py",),
    ),
    Mutant(
        "SHA256SUMS is never written anew",
        "archive/sums.py",
        "head.is_current(layout, held)",
        "True",
        ("tests/archive/test_sums.py",),
    ),
    Mutant(
        "a run vouches for a segment that has changed",
        "archive/head.py",
        "older.hashes.get(path) or sha256_of",
        "sha256_of",
        ("tests/archive/test_sums.py",),
    ),
    Mutant(
        "receipts that are lost are not made up for",
        "mirror/opening.py",
        "receipts.append(found)",
        "found.clear()",
        ("tests/mirror/test_opening.py",),
    ),
    Mutant(
        "a line that has changed counts",
        "archive/receipts.py",
        "line[-10:-2] != b",
        "line[-10:-2] == b and b",
        ("tests/archive/test_segments.py",),
    ),
    Mutant(
        "a copy of a shard is harmless",
        "archive/strays.py",
        "strays.append(path)",
        "harmless.append(path)",
        ("tests/archive/test_verify.py",),
    ),
    Mutant(
        "receipts are not synced",
        "archive/segments.py",
        "self._modes, synced=True)",
        "self._modes, synced=False)",
        (ORDER,),
    ),
    Mutant(
        "a new segment's name is not synced",
        "archive/segments.py",
        "            durable.sync_folder(self.segment.parent)\n",
        "            pass\n",
        (ORDER,),
    ),
    Mutant(
        "a part's note comes before its bytes are synced",
        "mirror/files.py",
        "            self._sync()\n            self._synced_bytes",
        "            self._synced_bytes",
        (ORDER,),
    ),
    # --- lengths and hashes ---
    Mutant(
        "a write's length is not looked at",
        "archive/durable.py",
        "    if os.fstat(descriptor).st_size != size_bytes:",
        "    if False:",
        (ORDER,),
    ),
    Mutant(
        "a short write is taken for a whole one",
        "archive/durable.py",
        "        left = left[written:]",
        "        left = left[len(left) :]",
        (DURABLE,),
    ),
    Mutant(
        "a shard's length is not looked at",
        "archive/shards.py",
        "        if self._path.stat().st_size != self._size_bytes:",
        "        if False:",
        (ORDER,),
    ),
    Mutant(
        "a zstd frame cut short passes for a whole one",
        "archive/shards.py",
        '                    raise EOFError("the last frame is cut short")',
        "                    return",
        ("tests/archive/test_shards.py",),
    ),
    Mutant(
        "a recording's size is not checked",
        "mirror/files.py",
        "        if total_bytes is not None and total_bytes != self.size_bytes:",
        "        if False:",
        (FILES,),
    ),
    Mutant(
        "an empty recording passes",
        "mirror/transfer.py",
        "        if not partial.size_bytes and listed_bytes != 0:",
        "        if False:",
        (f"{SIGNED}::test_fault_35_no_bytes_at_all_are_a_file_only_where_its_row_says_so",),
    ),
    Mutant(
        "a recording's hashes are not checked",
        "mirror/files.py",
        "            if offered is not None and offered != computed.digest():",
        "            if False:",
        (FILES,),
    ),
    Mutant(
        "no MD5 is computed",
        "mirror/files.py",
        "        if self._offered.md5 is not None:",
        "        if False:",
        (FILES,),
    ),
    Mutant(
        "no CRC32C is computed",
        "mirror/files.py",
        "        if self._offered.crc32c is not None:",
        "        if False:",
        (FILES,),
    ),
    Mutant(
        "a SHA-256 that is offered is passed over",
        "api/headers.py",
        'sha256=_base64(amazon.get("x-amz-checksum-sha256"), 32),',
        "sha256=None,",
        ("tests/api/test_headers.py",),
    ),
    Mutant(
        "verify looks at sizes alone",
        "archive/verify.py",
        "    if digest.hexdigest() in expected.sha256:",
        "    if size == expected.size_bytes:",
        ("tests/cli/test_verify.py",),
    ),
    Mutant(
        "recovery takes any staged file for the one that was intended",
        "mirror/commit.py",
        "        if _has_hash(staged, receipt.sha256):",
        "        if staged.is_file():",
        (RECEIPTS,),
    ),
    Mutant(
        "a part of another object is gone on with",
        "mirror/files.py",
        "if self.note is None or self.note.source != source or not",
        "if self.note is None or not",
        (FILES,),
    ),
    Mutant(
        "a part is gone on with beyond what has reached the disk",
        "mirror/files.py",
        "            os.truncate(self.path, synced_bytes)\n",
        "            pass\n",
        (FILES,),
    ),
    # --- what a storage host says ---
    Mutant(
        "another range than asked for is taken",
        "api/storage.py",
        "            if span is not None and span.first == start:",
        "            if span is not None:",
        (STORAGE,),
    ),
    Mutant(
        "a range of another whole is taken",
        "mirror/files.py",
        "        if self._has_other_size(later) or self.hashes.contradicts(later.hashes):",
        "        if self.hashes.contradicts(later.hashes):",
        (FILES,),
    ),
    Mutant(
        "what a weak validator joins is believed",
        "mirror/files.py",
        "is_doubtful=self.is_doubtful or sameness is not Sameness.PROVEN,",
        "is_doubtful=False,",
        (f"{WHOLE}::test_fault_82_an_object_that_is_replaced_between_two_parts_begins_anew",),
    ),
    Mutant(
        "what is stored packed is kept packed",
        "mirror/content.py",
        "    if head.startswith(GZIP) and not",
        "    if False and not",
        ("tests/mirror/test_content.py",),
    ),
    Mutant(
        "a whole file is added to the part that is there",
        "mirror/transfer.py",
        "        if answer.status == 200 and partial.size_bytes:",
        "        if False:",
        (f"{SIGNED}::test_fault_28_a_range_that_is_ignored_starts_the_file_from_zero",),
    ),
    Mutant(
        "what comes behind a recording is the next one's answer",
        "api/bodies.py",
        "        if self._has_more or not self._client.is_connected():",
        "        if not self._client.is_connected():",
        ("tests/api/test_bodies.py",),
    ),
    Mutant(
        "a page passes for a recording",
        "api/storage.py",
        "        if what := no_recording(head, self.media_type):",
        "        if False:",
        (f"{SIGNED}::test_fault_34_nor_is_a_page_that_calls_itself_a_film_and_has_no_size_to_be_held_against",),
    ),
    Mutant(
        "one byte a second is waited for",
        "api/wire.py",
        "        if self._waited_seconds > _SPEED_GRACE_SECONDS and is_slow:",
        "        if False:",
        (TRANSPORT, STORAGE),
    ),
    Mutant(
        "an answer may be of any size",
        "api/transport.py",
        "                if reading.received_bytes > LARGEST_BODY_BYTES:",
        "                if False:",
        (TRANSPORT,),
    ),
    # --- where the key goes, and who is visited ---
    Mutant(
        "the key follows a redirect",
        "api/transport.py",
        "        if not is_own:",
        "        if False:",
        (TRANSPORT,),
    ),
    Mutant(
        "a storage host's redirect is followed anywhere",
        "api/storage.py",
        "        return parse_address(target, loopback_allowed=self._loopback_allowed).url.reveal()",
        "        return target",
        (STORAGE,),
    ),
    Mutant(
        "a name that resolves to a private address is visited",
        "api/storage.py",
        '            if not is_public_host(result["host"]):',
        "            if False:",
        (STORAGE,),
    ),
    Mutant(
        "a private address is visited",
        "api/addresses.py",
        "        if is_loopback or not is_public_host(host):",
        "        if False:",
        (ADDRESSES,),
    ),
    Mutant(
        "plain http is visited",
        "api/addresses.py",
        '        if parts.scheme != "https":',
        "        if False:",
        (ADDRESSES,),
    ),
    Mutant(
        "an address that no request line can hold is sent",
        "api/addresses.py",
        " or not is_sendable(text):",
        ":",
        ("tests/fuzz/test_hostile_values.py",),
    ),
    Mutant(
        "a downloadPath may lead anywhere",
        "mirror/sources.py",
        "    if is_away or _CONTROL.search(path):",
        "    if False:",
        (f"{SIGNED}::test_fault_38_a_download_path_that_leads_away_is_refused_and_the_key_goes_nowhere",),
    ),
    # --- which recording is which ---
    Mutant(
        "another file of a recording is taken for the one that is held",
        "mirror/listed_files.py",
        "        return held.source == recording.source",
        "        return True",
        (f"{OBJECTS}::test_a_new_file_that_is_listed_first_takes_no_others_name",),
    ),
    Mutant(
        "a recording that was processed anew is held for ever",
        "mirror/listed_files.py",
        "        elif _says_another(held, recording):",
        "        elif False:",
        (f"{OBJECTS}::test_a_row_that_tells_of_a_change_has_its_host_asked_and_what_is_new_fetched",),
    ),
    Mutant(
        "a status is believed for ever",
        "mirror/listed_files.py",
        "            return now >= end + policy.settle_seconds",
        "            return False",
        (f"{OBJECTS}::test_a_status_is_not_believed_for_ever_once_the_recording_has_ended",),
    ),
    Mutant(
        "where several rows may be meant one of them is taken",
        "mirror/addresses.py",
        "    if len(may_be) > 1:",
        "    if False:",
        ("tests/mirror/test_addresses.py",),
    ),
    # --- secrets ---
    Mutant(
        "a secret shows itself",
        "model.py",
        '        return "Secret(…)"',
        "        return self._text",
        (ADDRESSES, TRANSPORT, "tests/settings"),
    ),
    Mutant(
        "a signed address shows itself",
        "api/addresses.py",
        'return f"<SignedAddress on {self.host}, expires_at={self.expires_at}>"',
        'return f"<SignedAddress {self.url.reveal()}>"',
        (ADDRESSES,),
    ),
    Mutant(
        "signatures stay in rows",
        "api/signatures.py",
        "            if each in signature:",
        "            if False:",
        ("tests/api/test_signatures.py",),
    ),
    Mutant(
        "the client's own error text is shown",
        "api/wire.py",
        'raise TransientError(f"{self._label} broke off ({name})") from None',
        'raise TransientError(f"{self._label} broke off ({error!r})") from None',
        (TRANSPORT, STORAGE),
    ),
    Mutant(
        "a server that repeats the key has it shown",
        "api/transport.py",
        "parse_error(body, self._words)",
        "parse_error(body)",
        (TRANSPORT, "tests/faults/test_secrets.py"),
    ),
    Mutant(
        "what is logged is not redacted",
        "api/words.py",
        "        text = secret.sub(mark, text)",
        "        pass",
        ("tests/cli/test_text.py", "tests/cli/test_main.py"),
    ),
    Mutant(
        "a key file that is open to all is taken",
        "settings/credentials.py",
        "    return stat.S_ISREG(found.st_mode) and may_change and bool(found.st_mode & stat.S_IRWXO)",
        "    return False",
        ("tests/settings/test_credentials.py",),
    ),
    # --- modes, links, names, locks ---
    Mutant(
        "files are open to the group",
        "archive/durable.py",
        "    file: int = 0o600",
        "    file: int = 0o640",
        (DURABLE,),
    ),
    Mutant(
        "the umask narrows what is shared",
        "archive/durable.py",
        "                os.fchmod(descriptor, modes.file)",
        "                pass",
        (DURABLE,),
    ),
    Mutant(
        "a link above a folder is followed",
        "archive/durable.py",
        "        if folder.is_symlink():",
        "        if False:",
        (DURABLE,),
    ),
    Mutant(
        "a link that stands for a folder is followed",
        "archive/durable.py",
        "        kind = os.lstat(folder).st_mode",
        "        kind = os.stat(folder).st_mode",
        (DURABLE,),
    ),
    Mutant(
        "a link that stands for a file is written through",
        "archive/durable.py",
        '_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)',
        "_NO_FOLLOW = 0",
        (DURABLE,),
    ),
    Mutant(
        "a link passes for a file that is held",
        "archive/durable.py",
        "        found = os.lstat(path)",
        "        found = os.stat(path)",
        (ORDER,),
    ),
    Mutant(
        "a receipt's path may lead anywhere",
        "archive/layout.py",
        "    return _OWN_PATH.fullmatch(path) is not None",
        "    return True",
        (RECEIPTS,),
    ),
    Mutant(
        "ids that differ in case meet",
        "archive/layout.py",
        '_PLAIN = frozenset(b"abc',
        '_PLAIN = frozenset(b"ABCabc',
        ("tests/archive/test_layout.py",),
    ),
    Mutant(
        "two runs hold one archive",
        "archive/lock.py",
        "            lock.acquire()",
        "            pass",
        ("tests/archive/test_lock.py",),
    ),
    Mutant(
        "two runs send on the same count",
        "mirror/budget_file.py",
        "            self._lock.acquire(timeout=_LONGEST_LOCK_SECONDS)",
        "            pass",
        (ORDER,),
    ),
    # --- what is called complete ---
    Mutant(
        "the total is not looked at",
        "mirror/proof.py",
        "        return self.claims.last_total in {None, self.claims.rows}",
        "        return True",
        (PROOF,),
    ),
    Mutant(
        "rows that came twice are counted as two",
        "mirror/proof.py",
        "self.stood_still and not self.repeats and not",
        "self.stood_still and not",
        (PROOF,),
    ),
    Mutant(
        "a total that moved does not matter",
        "mirror/proof.py",
        "(claims.total_moved or claims.has_shifted",
        "(claims.has_shifted",
        (PROOF,),
    ),
    Mutant(
        "pages that do not meet do not matter",
        "mirror/proof.py",
        "(claims.total_moved or claims.has_shifted or claims.has_hole",
        "(claims.total_moved or claims.has_hole",
        (PROOF,),
    ),
    Mutant(
        "answers from a cache are as good as others",
        "mirror/proof.py",
        "claims.has_hole or self.age_seconds)",
        "claims.has_hole)",
        (PROOF,),
    ),
    Mutant(
        "more behind the last answer does not matter",
        "mirror/proof.py",
        "    if claims.says_more:",
        "    if False:",
        (PROOF,),
    ),
    Mutant(
        "readings whose pages meet in the same places tell rows apart that are alike",
        "mirror/proof.py",
        "(last.may_repeat and meets_elsewhere)",
        "last.may_repeat",
        (PROOF,),
    ),
    Mutant(
        "a total ahead of its list is wrong at once",
        "mirror/differences.py",
        "        return now - difference.since_epoch >= self.settle_seconds",
        "        return True",
        ("tests/faults/test_proof.py",),
    ),
    Mutant(
        "rows of all rooms are only counted",
        "mirror/roomless.py",
        "        return counter.count() == rows",
        "        return True",
        ("tests/faults/test_proof.py",),
    ),
    Mutant(
        "a server's warning does not matter",
        "mirror/proof.py",
        "    if last.warnings:",
        "    if False:",
        (PROOF,),
    ),
    Mutant(
        "rows that came twice are kept twice",
        "mirror/merge.py",
        "                if digest in contents:",
        "                if False:",
        ("tests/mirror/test_merge.py",),
    ),
    Mutant(
        "a server may repeat itself for ever",
        "api/paging.py",
        "        if self._repeats > (1 if self._rows_have_ids else 3) and not self._total_moved:",
        "        if False:",
        ("tests/api/test_paging.py",),
    ),
    # --- where rows lie, and what leaves ---
    Mutant(
        "a time range is asked for as it is",
        "api/times.py",
        "MARGIN_SECONDS = 60",
        "MARGIN_SECONDS = 0",
        (FILING,),
    ),
    Mutant(
        "a row is filed by the list that it came in",
        "mirror/write.py",
        "        return named if named is not None else self._key.room",
        "        return self._key.room if self._key.room is not None else named",
        (FILING,),
    ),
    Mutant(
        "a row that moved stays in the old room, too",
        "mirror/data_type.py",
        "        await self._outcome.take_out_moved()",
        "        pass",
        (FILING,),
    ),
    Mutant(
        "one id is one row, whoever's it is",
        "mirror/versions.py",
        "        if not is_same:",
        "        if False:",
        ("tests/mirror/test_merging.py",),
    ),
    Mutant(
        "what is lost of a damaged shard is not told",
        "mirror/salvage.py",
        "            missing += part.receipt.rows - part.read_rows",
        "            missing += 0",
        ("tests/mirror/test_salvage.py",),
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: the first test that failed, or why none did."""

    mutant: Mutant
    killed_by: str = ""
    trouble: str = ""


def measure(*, long: bool = False, workdir: Path) -> Figures:
    """Try all mutants, or a fixed sample of them, two at a time in copies of the tree below `workdir`."""
    chosen = MUTANTS if long else MUTANTS[::SAMPLE_EVERY]
    outcomes = _try_all(chosen, workdir)
    survivors = [each for each in outcomes if not each.killed_by]
    return Figures(
        title="Mutants",
        says="Each safeguard was taken out by itself, and the tests were run that should notice.",
        counts=(
            ("safeguards taken out", len(outcomes)),
            ("noticed", len(outcomes) - len(survivors)),
            ("in the whole list", len(MUTANTS)),
        ),
        failures=tuple(f"{each.mutant.name} ({each.mutant.file}): {each.trouble}" for each in survivors),
        table=(
            ("what was taken out", "of", "noticed by"),
            *((each.mutant.name, each.mutant.file, each.killed_by or "nothing") for each in outcomes),
        ),
    )


def misplaced(mutants: Iterable[Mutant] = MUTANTS, tree: Path = TREE) -> list[str]:
    """Mutants whose text does not stand in their file exactly once, or whose tests are not there."""
    found = []
    for mutant in mutants:
        count = (tree / "hsmirror" / mutant.file).read_text(encoding="utf-8").count(mutant.old)
        if count != 1:
            found.append(f"{mutant.name}: its text stands in {mutant.file} {count} times")
        found += [
            f"{mutant.name}: there is no {each}"
            for each in mutant.noticed_by
            if not (tree / each.partition("::")[0]).exists()
        ]
    return found


def _try_all(mutants: Sequence[Mutant], workdir: Path) -> list[Outcome]:
    if wrong := misplaced(mutants):
        return [Outcome(mutants[0], trouble=each) for each in wrong]
    trees: Queue[Path] = Queue()
    for number in range(_AT_ONCE):
        trees.put(_copy(workdir / f"tree-{number}"))

    def attempt(mutant: Mutant) -> Outcome:
        tree = trees.get()
        try:
            return _try(mutant, tree)
        finally:
            trees.put(tree)

    if trouble := _unmutated(mutants, trees.queue[0]):
        return [Outcome(mutants[0], trouble=trouble)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(attempt, mutants))


def _unmutated(mutants: Sequence[Mutant], tree: Path) -> str:
    """What the named tests say where nothing was taken out; empty where they pass, as they must."""
    status, said = _run_tests(tree, dict.fromkeys(test for each in mutants for test in each.noticed_by))
    return "" if status == 0 else f"the tests fail where nothing was taken out: {_first_failed(said)}"


def _copy(tree: Path) -> Path:
    for name in ("hsmirror", "tests"):
        shutil.copytree(TREE / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    for name in ("pyproject.toml", "config.example.toml"):
        shutil.copy(TREE / name, tree)
    return tree


def _try(mutant: Mutant, tree: Path) -> Outcome:
    path = tree / "hsmirror" / mutant.file
    sound = path.read_text(encoding="utf-8")
    _rewrite(path, sound.replace(mutant.old, mutant.new))
    try:
        status, said = _run_tests(tree, mutant.noticed_by)
    finally:
        _rewrite(path, sound)
    if status == 0:
        return Outcome(mutant, trouble="no test notices")
    if status != 1:
        return Outcome(mutant, trouble=f"the tests could not be run (status {status})")
    return Outcome(mutant, killed_by=_first_failed(said))


def _rewrite(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # Python tells by whole seconds and the length whether compiled code is stale, which is too coarse here.
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _run_tests(tree: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Run them in one process of their own, up to the first failure; a test that hangs fails."""
    options = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--timeout=60")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tree,
        # The same examples each time, so that what notices a mutant today does so tomorrow.
        env=os.environ | {"PYTHONPATH": str(tree), "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stdout.decode(errors="replace")


def _first_failed(said: str) -> str:
    found = _FAILED.search(said)
    return found[1].removeprefix("tests/") if found else "a test that did not say its name"
