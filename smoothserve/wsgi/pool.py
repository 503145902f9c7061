"""The application threads of a worker, and the way back to its loop.

Decides how many threads run at a time. For short calls one is best: several that take turns lose a third to the
GIL (benchmark: small WSGI answer, `--threads 4`). So a further thread is woken only when work has waited for
`TICK` while all that are awake were in one call each; what has been learnt so is remembered in a `Spread`.
What threads have for the loop is collected, and one wake-up of the loop fetches all of it.
"""

import asyncio
import contextlib
import logging
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Protocol

from smoothserve.wsgi.spread import Spread

#: Seconds that work waits before a further thread is woken for it, and a finished call for its fetching.
TICK = 0.001


class Job(Protocol):
    """A call to be made on an application thread."""

    def run(self) -> None:
        """Make the call, on an application thread. Never raises."""

    def deliver(self) -> None:
        """Fetch what the call has for the loop, on the loop's thread."""

    def finish(self) -> None:
        """Do the same for the last time: the call has returned."""


class _Thread:
    """What is known of one application thread."""

    __slots__ = ("busy_since", "gate", "ident", "job")

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        """Where the thread waits while it is not needed."""
        self.busy_since = 0.0
        """When the call began that the thread is in; 0 if it is in none."""
        self.job: Job | None = None
        """Whose call it is."""
        self.ident = 0
        """Which thread it is, for the interpreter."""


class ThreadPool:
    """Runs jobs on `size` threads. All methods but `post` on the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        size: int,
        *,
        log: logging.Logger,
        on_saturation: Callable[[], object] | None = None,
    ) -> None:
        """Make a pool. `on_saturation` is called when `saturated` has changed, and for `request_notice`."""
        self.saturated = False
        """Whether all threads are in calls that take longer than a moment."""
        self._loop = loop
        self._size = size
        self._log = log
        self._on_saturation = on_saturation
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._in_hand = 0
        self._threads = [_Thread() for _ in range(size)]
        self._parked: deque[_Thread] = deque()
        self._front = threading.Lock()
        """Held by the one thread that waits for jobs; the others park when there is none."""
        self._submitted: list[Job] = []
        """Jobs that no thread can see yet; `_hand_out` is on its way."""
        self._spread = Spread(size)
        self.calls_ended = 0
        """How many calls have returned so far."""
        self._notice_requested = False
        self._posted: deque[Job] = deque()
        """Jobs that have something for the loop."""
        self._ended: deque[Job] = deque()
        """Jobs whose calls have returned."""
        self._fetching = False
        """Whether a wake-up of the loop is on its way."""
        self._ticking = False
        """Whether `_tick` will be called within `TICK`."""
        self._slow = False
        """Whether calls have lately taken longer than `TICK`."""
        self._saturated_at = 0.0
        self._alive = 0
        self._stopping = False
        self._idle = asyncio.Event()
        """Nothing is in hand; only while stopping."""
        self._deserted = asyncio.Event()
        """No thread is left; only while stopping."""

    @property
    def in_hand(self) -> int:
        """How many jobs wait or run."""
        return self._in_hand

    def start(self) -> None:
        """Start the threads."""
        self._stopping = False
        self._idle.clear()
        self._deserted.clear()
        for index, own in enumerate(self._threads):
            self._alive += 1
            threading.Thread(target=self._main, args=(own,), name=f"smoothserve-wsgi-{index}", daemon=True).start()

    @property
    def busy(self) -> int:
        """How many threads are in a call."""
        return sum(1 for one in self._threads if one.busy_since)

    @property
    def stuck_since(self) -> float:
        """When the last of all threads began the call that it is in; 0 if one is in none."""
        since = [one.busy_since for one in self._threads]
        return max(since) if all(since) else 0.0

    def seconds_in_call(self, job: Job) -> float | None:
        """Return how long a thread has been in the call of `job`, None if none is in it."""
        for one in self._threads:
            if one.job is job:
                since = one.busy_since
                return max(0.0, time.monotonic() - since) if since else 0.0
        return None

    def render_stacks(self) -> str:
        """Return the stacks of the threads that are in calls, as tracebacks show them."""
        now = time.monotonic()
        frames = sys._current_frames()
        parts = []
        for index, one in enumerate(self._threads):
            frame, since = frames.get(one.ident), one.busy_since
            if frame is not None and since:
                parts.append(f"thread smoothserve-wsgi-{index}, in its call for {now - since:.1f} s:\n")
                parts += traceback.format_stack(frame)
        return "".join(parts)

    @property
    def free(self) -> int:
        """How many more calls would begin at once; negative if calls wait."""
        return self._size - self._in_hand

    def request_notice(self) -> None:
        """Have `on_saturation` called once, as soon as a call has returned."""
        self._notice_requested = True

    async def stop(self, timeout: float) -> None:
        """Wait for what is in hand, then for the threads' end; after `timeout` seconds leave behind what is stuck."""
        due = self._loop.time() + timeout
        self._stopping = True
        self._note_progress()
        await _wait_until(due, self._idle)
        self._dismiss()
        await _wait_until(due, self._deserted)

    def _note_progress(self) -> None:
        if not self._in_hand:
            self._idle.set()
        if not self._alive:
            self._deserted.set()

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        while self._parked:
            self._parked.pop().gate.release()

    # giving work out

    def submit(self, job: Job) -> None:
        """Have a job run, with all others that come in this turn of the loop.

        A thread that woke for the first of them would take the interpreter from the loop, which would take it back
        for the second: several switches for each call (benchmark: small WSGI answer).
        """
        self._in_hand += 1
        if not self._submitted:
            self._loop.call_soon(self._hand_out)
        self._submitted.append(job)
        if self._in_hand >= self._size and self._slow and not self.saturated:
            self._set_saturated(True)

    def _hand_out(self) -> None:
        """Let the threads have what has been submitted."""
        submitted, self._submitted = self._submitted, []
        put = self._jobs.put
        for job in submitted:
            put(job)
        if self._in_hand >= self._size or not self._front.locked():
            self._assign()

    def _assign(self) -> None:
        """See to it that what waits is begun: wake a thread now, or look again at the tick."""
        if self._parked and not self._front.locked() and self._size - len(self._parked) < self._spread.width:
            self._parked.pop().gate.release()
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        """Fetch what is finished, and look whether the threads that are awake get on."""
        self._ticking = False
        self._fetch()
        if not self._in_hand:
            return
        now = time.monotonic()
        before = now - TICK
        stuck = sum([0.0 < thread.busy_since < before for thread in self._threads])
        awake = self._size - len(self._parked)
        waiting = not self._jobs.empty()
        if self._size > 1:
            if stuck >= awake and waiting:
                self._spread.needs(awake + 1)
            if self._spread.due(now, backlog=waiting):
                self._spread.judge(now, time.process_time(), self.calls_ended)
            if waiting and self._parked and awake < self._spread.width:
                self._parked.pop().gate.release()
        if stuck == self._size and not self.saturated:
            self._slow = True
            self._set_saturated(True)
        if waiting or (self._in_hand >= self._size and not self.saturated):
            self._ticking = True
            self._loop.call_later(TICK, self._tick)

    def _set_saturated(self, saturated: bool) -> None:
        self.saturated = saturated
        now = self._loop.time()
        if saturated:
            self._saturated_at = now
        elif now - self._saturated_at < TICK:
            self._slow = False
        if self._on_saturation is not None:
            self._on_saturation()

    # fetching what has been done

    def post(self, job: Job) -> None:
        """Have `job.deliver` called soon. On an application thread."""
        self._posted.append(job)
        self._request_fetch()

    def _request_fetch(self) -> None:
        if self._fetching or (self._ticking and not self._jobs.empty()):
            # Either a wake-up is on its way already, or this thread goes on and the tick will come.
            return
        self._fetching = True
        self._tell_loop(self._fetch)

    def _tell_loop(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed over a call that did not end
            self._loop.call_soon_threadsafe(callback)

    def _fetch(self) -> None:
        self._fetching = False
        posted = self._posted
        ended = self._ended
        returned = len(ended)
        left = 0
        try:
            # What is posted meanwhile waits for the next turn: a fast stream must not keep the loop for itself.
            for _ in range(len(posted)):
                posted.popleft().deliver()
            self._in_hand -= returned
            self.calls_ended += returned
            left = returned
            for _ in range(returned):
                left -= 1
                ended.popleft().finish()
        finally:
            if left:  # one has failed
                self._in_hand += left
                self.calls_ended -= left
            if (posted or ended) and not self._fetching:  # posted meanwhile, or left because one has failed
                self._fetching = True
                self._loop.call_soon(self._fetch)
        if returned:
            self._note_returned()

    def _note_returned(self) -> None:
        if self.saturated and self._in_hand < self._size:
            self._notice_requested = False
            self._set_saturated(False)
        elif self._notice_requested:
            self._notice_requested = False
            if self._on_saturation is not None:
                self._on_saturation()
        if self._stopping:
            self._note_progress()

    # the threads

    def _main(self, own: _Thread) -> None:
        job: Job | None
        own.ident = threading.get_ident()
        jobs = self._jobs
        front = self._front
        parked = self._parked
        clock = time.monotonic
        while True:
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                if not front.acquire(blocking=False):
                    parked.append(own)
                    if not jobs.empty():
                        # It has come in between, and whoever held the front may not have seen this thread park.
                        self._tell_loop(self._assign)
                    own.gate.acquire()
                    continue
                job = jobs.get()
                front.release()
                if parked and not self._ticking and not jobs.empty():
                    # What came in before the release relied on this thread.
                    self._tell_loop(self._assign)
            if job is None:
                break
            own.job = job
            own.busy_since = clock()
            try:
                job.run()
            except BaseException:  # noqa: BLE001 - a defect of ours must not cost the thread
                self._log.exception("a call has failed in the server")
            own.busy_since = 0.0
            own.job = None
            self._ended.append(job)
            if not self._fetching:
                self._request_fetch()
        self._tell_loop(self._thread_ended)

    def _thread_ended(self) -> None:
        self._alive -= 1
        self._note_progress()


async def _wait_until(due: float, event: asyncio.Event) -> None:
    """Wait for an event, until `due` by the loop's clock at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(due):
            await event.wait()
