"""Work outside the interface's thread, one order at a time."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App

    from ktcpdump_tui.tui.gate import Gate

Order = TypeVar("Order")
Result = TypeVar("Result")


class Background(Generic[Order, Result]):
    """A named thread that carries out orders in turn; with ``newest``, only the last of those that wait.

    ``work`` runs in the thread; ``done`` and ``failed`` are called in the interface's. A worker per order
    would let slow ones pile up while events come in. They wait for the first picture (BaseApp.painted), and
    each order until a key was answered (BaseApp.gate), but not with ``at_once``: it is the answer.
    ``prepare`` is called before the first order, in the thread.
    """

    def __init__(
        self,
        app: App[Any],
        name: str,
        work: Callable[[Order], Result],
        done: Callable[[Order, Result], None],
        failed: Callable[[Exception], None],
        *,
        newest: bool = True,
        at_once: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self._app = app
        self._newest = newest
        self._after: threading.Event | None = getattr(app, "painted", None)
        self._gate: Gate | None = None if at_once else getattr(app, "gate", None)
        self._prepare = prepare
        self._work, self._done, self._failed = work, done, failed
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._pending = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether an order was given that is not done yet."""
        return self._pending > 0

    def order(self, order: Order) -> None:
        """Give an order."""
        with self._lock:
            self._pending += 1
        self._orders.put(order)

    def close(self) -> None:
        """End the thread when it has done what it is at."""
        self._orders.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the thread to end, no longer than this."""
        self._thread.join(seconds)

    def _run(self) -> None:
        if self._after is not None:
            self._after.wait()
        if self._prepare is not None and self._app.is_running:
            try:
                self._prepare()
            except Exception as error:
                self._hand_over(0, self._failed, error)
        while True:
            order = self._orders.get()
            if self._gate is not None and order is not None:
                self._gate.pass_through()
            taken = 1
            while self._newest and order is not None and not self._orders.empty():
                order = self._orders.get()
                taken += 1
            if order is None:
                return
            try:
                result = self._work(order)
            except Exception as error:
                self._hand_over(taken, self._failed, error)
            else:
                self._hand_over(taken, self._done, order, result)

    def _hand_over(self, taken: int, call: Callable[..., None], *arguments: Any) -> None:
        """Call something in the interface's thread, unless the interface has ended."""
        if not (self._app.is_running and self._app.call_later(self._deliver, taken, call, *arguments)):
            self._settle(taken)

    def _deliver(self, taken: int, call: Callable[..., None], *arguments: Any) -> None:
        """Take a result in the interface's thread: until then the orders are not done."""
        self._settle(taken)
        call(*arguments)

    def _settle(self, taken: int) -> None:
        with self._lock:
            self._pending -= taken
