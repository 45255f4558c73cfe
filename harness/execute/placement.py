"""Where runs of this machine go: cores for those without a GPU, and for the others the card with room for them.

How much memory a run needs is measured, not reckoned: the first run of each shape has a card for itself until it has
told its peak; then others join it. No files, no clock, no processes: `harness.execute.local` has those.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from harness.execute.cards import Card
from harness.execute.job import Job

# Left free on a card: a run's last step, which tests and measures the network, may take more than its first epoch.
HEADROOM = 0.1


class Placement:
    """Which runs are at work and where.

    Args:
        cards: GPUs; a run with `device: cpu` takes none, one with `auto` cores where there are none.
        cores: Cores of this process. A run takes its threads of them, on a GPU one: it only calls kernels there.
        workers: Runs at once, whatever their cores; None for as many as the cores hold.
        runs_per_gpu: Runs at once on a GPU, whatever their memory; None for as many as fit.
    """

    def __init__(
        self, cards: Sequence[Card], cores: int, workers: int | None = None, runs_per_gpu: int | None = None
    ) -> None:
        self._cards, self._cores, self._workers, self._runs_per_gpu = list(cards), cores, workers, runs_per_gpu
        self._at: dict[Job, Card | None] = {}
        self._memory: dict[Hashable, int] = {}  # peak in bytes, by shape

    def take(self, ready: list[Job]) -> tuple[Job, Card | None] | None:
        """Take the first run that there is room for out of `ready`; None where there is none.

        One card is kept from others for the first run that has to wait for one: smaller ones would for ever fill what
        it waits for.

        Args:
            ready: Runs, most urgent first.

        Returns:
            The run and its card; None for a card where it has cores.
        """
        if self._workers is not None and len(self._at) >= self._workers:
            return None
        kept: Card | None = None
        for job in ready:
            on_card = self._cards and job.spec.optimisation.device != "cpu"
            card = self._card(job, kept) if on_card else None
            if on_card and card is None:
                kept = kept or min(self._cards, key=lambda one: len(self._runs(one)))
            elif self._cores_hold(job, card):
                ready.remove(job)
                self._at[job] = card
                return job, card
        return None

    def measured(self, job: Job, memory_bytes: int) -> None:
        """Learn the peak of a run's GPU memory; the first figure of a shape counts, since it was alone on its card."""
        self._memory.setdefault(job.spec.shape, memory_bytes)

    def leave(self, job: Job) -> None:
        """A run has ended: its place is free."""
        del self._at[job]

    def _runs(self, card: Card | None) -> list[Job]:
        return [job for job, at in self._at.items() if at == card]

    def _card(self, job: Job, kept: Card | None) -> Card | None:
        """The card with the most memory free among those that have room; None where the run has to wait."""
        cards = [card for card in self._cards if card != kept]
        if self._runs_per_gpu is not None:
            cards = [card for card in cards if len(self._runs(card)) < self._runs_per_gpu]
            return min(cards, key=lambda card: len(self._runs(card)), default=None)
        need = self._memory.get(job.spec.shape)
        if need is None or need > max(map(_usable, self._cards)):
            cards = [card for card in cards if not self._runs(card)]
        else:
            cards = [card for card in cards if self._free(card) >= need]
        return max(cards, key=self._free, default=None)

    def _free(self, card: Card) -> float:
        """Bytes that further runs may take of a card; none beside a run that was not measured yet."""
        needs = [self._memory.get(job.spec.shape) for job in self._runs(card)]
        return _usable(card) - sum(_usable(card) if need is None else need for need in needs)

    def _cores_hold(self, job: Job, card: Card | None) -> bool:
        if self._workers is not None or (card is not None and self._runs_per_gpu is not None):
            return True
        if not self._runs(card):  # nothing waits for ever
            return True
        return sum(_cores(each, at) for each, at in self._at.items()) + _cores(job, card) <= self._cores


def _cores(job: Job, card: Card | None) -> int:
    return job.spec.optimisation.threads if card is None else 1


def _usable(card: Card) -> float:
    return (1 - HEADROOM) * card.memory_bytes
