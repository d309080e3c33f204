"""How many calls may be in flight? As many as still make the whole faster, fewer when it is full.

    python mlflow_tracking/run_experiment.py                    # found while judging
    python mlflow_tracking/run_experiment.py --concurrency 64   # fixed

Hill climbing on the throughput, with TCP's multiplicative decrease (Chiu and Jain, *Analysis of the
Increase and Decrease Algorithms for Congestion Avoidance*, 1989): the bound rises by half while
that gives a twentieth more rows a second, and goes back to the last one that did where it does not;
429 and 503 halve it; it falls by half of the requests that wait inside the server, which has as
many at work as it can. After some time it tries to rise again.

It begins with few, and each that ends makes room for one more, as TCP's slow start does: a judge
without a GPU answers its first rows after seconds, where with all at once it reads them all first.
"""

import asyncio
import time
from collections.abc import Callable
from math import ceil
from statistics import median

# In flight, of one client: when it begins, when the climbing does, and at most.
AT_FEW, AT_FIRST, MOST = 4, 32, 512
_STEP = 1.5  # times as many
_GAIN = 1.05  # times as fast, or the step was for nothing: rates differ by less by themselves
_FULL = 1 / 8  # of what is in flight may wait in a server: less comes and goes with every batch
_WINDOW_S, _WINDOW_ROWS = 1.0, 16  # at least; and as many rows as may be in flight
_HELD = 8  # windows until it tries to rise again


class AdaptiveLimit:
    """A bound on what is in flight; `async with` takes a place and may wait for it.

    With `start` equal to `most` it is a fixed one. Of one event loop.
    """

    def __init__(
        self,
        start: int = AT_FIRST,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.adapts = most, start != most
        self.limit = min(AT_FEW, start) if self.adapts else start
        self.reached = self.limit  # the largest bound so far
        self._slow_until = start  # 0: it is over
        self._clock = clock
        self._places = asyncio.Semaphore(self.limit)
        self._owed = 0  # places to be closed when their calls end
        self._settling = start  # rows until the bound shows: they began before it, or cold
        self._ended, self._began, self._waiting = 0, clock(), list[float]()
        self._good, self._good_rate = start, 0.0  # the last bound that paid
        self._held = 0  # windows left; 0: rising
        self._held_rates = list[float]()
        self._refused = False  # and what was in flight then has not ended yet

    @classmethod
    def of(cls, concurrency: int | None) -> "AdaptiveLimit":
        """A fixed bound, or (None) one that finds itself."""
        return cls(concurrency or AT_FIRST, concurrency or MOST)

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._places.release()

    def ended(self) -> None:
        """A row has its score: the throughput is counted in these."""
        if not self.adapts:
            return
        if self.limit < self._slow_until:
            self._move(self.limit + 1)
            return
        self._slow_until = 0
        if self._settling:
            self._settling -= 1
            if not self._settling:
                self._refused = False
                self._begin_window()
            return
        if not self._places.locked():  # rows run out: the rate would be one of fewer
            self._begin_window()
            return
        self._ended += 1
        seconds = self._clock() - self._began
        if self._ended >= max(self.limit, _WINDOW_ROWS) and seconds >= _WINDOW_S:
            self._decide(self._ended / seconds)

    def refused(self) -> None:
        """The servers are overloaded: they said so, or a call took too long.

        Until as many rows as were in flight have ended, others of them may be refused, too: again
        and again for a while, since a call is tried again. All of that is one overload.
        """
        if self.adapts and not self._refused:
            self._hold(self.limit // 2, 0.0)
            self._refused = True

    def waiting(self, rows: float) -> None:
        """So many of the rows in flight wait inside the servers, by their own word."""
        self._waiting.append(rows)

    def _decide(self, rate: float) -> None:
        waiting = median(self._waiting) if self._waiting else 0
        if waiting > _FULL * self.limit:
            # By half of what waits: other clients of the server may give way, too.
            self._hold(self.limit - ceil(min(waiting, self.limit) / 2), rate)
        elif self._held:
            self._held -= 1
            self._held_rates.append(rate)
            self._good, self._good_rate = self.limit, median(self._held_rates)
            if self._held:
                self._begin_window()
            else:
                self._rise()
        elif rate < _GAIN * self._good_rate:
            self._hold(self._good, self._good_rate)
        else:
            self._good, self._good_rate = self.limit, rate
            self._rise()

    def _rise(self) -> None:
        if self.limit == self.most:
            self._hold(self.most, self._good_rate)
        else:
            self._move(ceil(self.limit * _STEP))

    def _hold(self, limit: int, rate: float) -> None:
        self._slow_until = 0
        self._held = _HELD
        self._held_rates.clear()
        self._move(limit)
        self._good, self._good_rate = self.limit, rate

    def _move(self, limit: int) -> None:
        before, self.limit = self.limit, min(max(limit, 1), self.most)
        self.reached = max(self.reached, self.limit)
        if self.limit < before:
            self._owed += before - self.limit
        more = max(self.limit - before, 0)
        paid = min(more, self._owed)
        self._owed -= paid
        for _ in range(more - paid):
            self._places.release()
        self._settling = before
        self._begin_window()

    def _begin_window(self) -> None:
        self._ended, self._began = 0, self._clock()
        self._waiting.clear()
