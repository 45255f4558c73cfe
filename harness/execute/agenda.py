"""What of a study can be trained now: runs come ready as what they need is done, the longest chain first."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from harness.execute.job import Job
from harness.execute.progress import StageProgress
from harness.parallel import each
from harness.store.code import training_code_sha256
from harness.store.record import RunRecord
from harness.store.store import Check, Store, read
from harness.study.cost import teacher_tables, training_flops
from harness.study.graph import choice_of, needs
from harness.study.plan import Choice, Entry, decided, winner
from harness.study.schedule import chains
from harness.study.spec import RunSpec
from harness.study.study import Study
from harness.workspace import DOWNLOADS


def _check(store: Store, entry: Entry) -> Check:
    """A check with no more than is asked of it later: of all records, only those of candidates."""
    check = store.check(entry)
    return check if entry.phase == "select" else replace(check, record=None)


class Agenda:
    """Runs on their way: what waits, what can start, and what cannot any more.

    A run is looked at again when what it needs has been trained: only then is it known whether it still holds (its
    teacher came out as it was), or, for a chosen one, which it is.

    Args:
        store: Where runs are.
        study: The study.
        entries: What has to be there, each run once, in training order, each with its run or, where it waits for the
            selection, one that costs the same.
        checkpoint_every_s: Seconds between a run's checkpoints; 0 for every epoch.
        on_selection: Given the best validation accuracy (fraction) of every candidate, by run identity, as soon as all
            are done.

    Attributes:
        ready: What can start now, the longest chain first. The executor takes from it.
    """

    def __init__(
        self,
        store: Store,
        study: Study,
        entries: Sequence[tuple[Entry, RunSpec]],
        checkpoint_every_s: float,
        on_selection: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._store, self._study, self._every_s, self._on_selection = store, study, checkpoint_every_s, on_selection
        self._entries, self._runs = [entry for entry, _ in entries], [run for _, run in entries]
        needed = needs(self._entries)
        self._missing = [set(before) for before in needed]
        self._followers: list[list[int]] = [[] for _ in entries]
        for number, before in enumerate(needed):
            for earlier in before:
                self._followers[earlier].append(number)
        self._chain = chains([training_flops(run) for run in self._runs], needed)
        self._candidates: dict[Choice | None, list[RunSpec]] = {}
        for entry, run in entries:
            if entry.phase == "select":
                self._candidates.setdefault(choice_of(entry), []).append(run)
        self._val_acc: dict[str, float] = {}
        self._expected = [False] * len(entries)
        self._tell: Callable[[str], None] = print
        self._expect: Callable[[RunSpec, int], None] = lambda *_: None
        self._number: dict[Job, int] = {}
        self._lost: set[int] = set()
        self._makes: dict[Job, str] = {}  # the table that a job makes, by its name
        self._readers: dict[str, list[Job]] = {}  # by table: its maker, then jobs that wait for it
        self._made: set[str] = set()  # tables that an executor has made, wherever it keeps them
        self.ready: list[Job] = []

    def survey(self) -> list[bool]:
        """Look at all that waits for nothing, and so fill `ready` for the first time.

        Returns:
            By entry, whether it will be trained, as far as that is known before anything is.
        """
        checks = list(each(partial(_check, self._store), self._entries))
        for number, check in enumerate(checks):  # what one needs stands before it
            if not self._missing[number]:
                self._look(number, check)
        looked_at = set(self._number.values())
        self._expected = [
            number in looked_at or (bool(self._missing[number]) and check.state != "done")
            for number, check in enumerate(checks)
        ]
        return self._expected

    def start(self, progress: StageProgress) -> None:
        """From now on progress shows what is trained again and why, and when that was not expected."""
        self._tell, self._expect = progress.tell, progress.expect

    def entry(self, job: Job) -> Entry:
        """The entry of a job."""
        return self._entries[self._number[job]]

    def past_table(self, job: Job, *, ended: bool = False) -> None:
        """A run has trained an epoch or ended: if it was to make a table, runs that read it come ready.

        They would otherwise wait for it at their places, where others could train.

        Args:
            job: The run.
            ended: It has ended. If it told no epoch before, it may have left no table, and one reader is to make it.
        """
        if (table := self._makes.pop(job, None)) is not None:
            if not ended:
                self._made.add(table)
            for reader in self._readers.pop(table)[1:]:
                self._offer(reader)

    def done(self, job: Job) -> None:
        """A run is trained: what waited for it alone comes ready, or is done as well.

        Raises:
            StoreError: A candidate's accuracy cannot be read.
        """
        number = self._number[job]
        unlocked = self._finish(number, read(job.folder) if self._entries[number].phase == "select" else None)
        while unlocked:
            unlocked += self._look(unlocked.pop(0), None)

    def failed(self, job: Job) -> list[Entry]:
        """A run failed: returns what will not be started for that, unless another failure had told so before."""
        lost = []
        reached = [self._number[job]]
        for number in reached:  # grows
            for follower in self._followers[number]:
                if follower not in self._lost:
                    self._lost.add(follower)
                    reached.append(follower)
                    lost.append(self._entries[follower])
        return lost

    def _look(self, number: int, check: Check | None) -> list[int]:
        """Look at an entry that waits for nothing: done, or ready; returns what comes to wait for nothing by it."""
        entry = self._entries[number]
        if entry.spec is None:
            entry = decided(self._study, entry, winner(self._candidates[entry.choice], self._val_acc))
            self._entries[number], check = entry, None
        check = check or self._store.check(entry)
        if self._expected[number] == (check.state == "done"):
            self._expect(self._runs[number], -1 if check.state == "done" else 1)
        if check.state == "done":
            return self._finish(number, check.record)
        store, folder = self._store, self._store.folder(entry)
        if check.state == "stale":
            self._tell(f"{folder} is trained again: {check.reason}")
        job = Job(
            spec=entry.run,
            teacher=store.teacher_folder(entry.run),
            partial=store.partial(entry),
            folder=folder,
            tables=store.tables,
            downloads=DOWNLOADS,
            code_sha256=training_code_sha256(entry.run.method),
            checkpoint_every_s=self._every_s,
        )
        self._number[job] = number
        self._offer(job)
        return []

    def _offer(self, job: Job) -> None:
        """Put a job into `ready`, unless another is about to make the teacher table that it reads.

        A table that an older teacher left looks like the one that is read. Then nobody waits here, but at their places,
        for the one that makes the right table: whoever opens one checks what it was made from.
        """
        for table in teacher_tables([job.spec]):
            if table not in self._made and not any(self._store.tables.glob(f"{table}-*")):
                if table in self._readers:
                    self._readers[table].append(job)
                    self._hasten(self._readers[table][0], self._chain[self._number[job]])
                    return
                self._readers[table], self._makes[job] = [job], table
        insort(self.ready, job, key=self._urgency)

    def _hasten(self, maker: Job, chain: float) -> None:
        """The maker of a table is as urgent as the longest chain that waits for it."""
        number = self._number[maker]
        if chain > self._chain[number]:
            waits = maker in self.ready
            if waits:
                self.ready.remove(maker)
            self._chain[number] = chain
            if waits:
                insort(self.ready, maker, key=self._urgency)

    def _urgency(self, job: Job) -> tuple[float, int]:
        return -self._chain[self._number[job]], self._number[job]

    def _finish(self, number: int, record: RunRecord | None) -> list[int]:
        """An entry is done; returns what comes to wait for nothing by it."""
        if self._entries[number].phase == "select" and record is not None:
            self._val_acc[record.spec_sha256] = record.val_acc
            if len(self._val_acc) == sum(map(len, self._candidates.values())):
                self._on_selection(self._val_acc)
        for follower in self._followers[number]:
            self._missing[follower].discard(number)
        return [follower for follower in self._followers[number] if not self._missing[follower]]
