"""What happens to the orders: placed, a payment service that is killed, a shipping service that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from kantor import Publisher
from kantor_examples.checkout.accounting import Books
from kantor_examples.checkout.orders import Fault, Planned
from kantor_examples.checkout.shop import place, shop
from kantor_orchestrator.demo.run import Running
from kantor_orchestrator.demo.show import Show
from kantor_orchestrator.demo.watch import ENDED, Watch

#: Orders a second: slow enough to be watched.
RATE = 40.0


class Story:
    """One run of the orders through everything that goes wrong."""

    def __init__(self, running: Running, show: Show, planned: Sequence[Planned]) -> None:
        self._running = running
        self._show = show
        self._planned = planned
        self._placed: list[str] = []
        self.watch = Watch(running.settings.view_url, self._placed)
        self._publish: Publisher

    def tell(self) -> None:
        """Returns when nothing is under way any more. Raises ``DemoError`` or ``KantorError``."""
        with shop.publisher(self._running.settings.kafka) as publish:
            self._publish = publish
            usual = [one for one in self._planned if one.fault is not Fault.SHIPPING_DOWN]
            killed = [one for one in usual if one.fault is Fault.PAYMENT_KILLED]
            usual = [one for one in usual if one.fault is not Fault.PAYMENT_KILLED]
            half, last = len(usual) // 2, len(usual) * 9 // 10
            self._kill_payment(usual[:half], killed, usual[half:last])
            self._lose_shipping(usual[last:])
            self._await_quiet()

    def _kill_payment(
        self, before: Sequence[Planned], meanwhile: Sequence[Planned], after: Sequence[Planned]
    ) -> None:
        children = self._running.children
        self._show.phase(f"Placing {len(before)} orders; some can't be paid, supplied or shipped")
        self._place(before)
        self._wait(lambda: self.watch.counts()["completed"] > 0, "no order was completed")
        pid = children.pid("payment")
        children.kill("payment")
        self._show.phase(f"Payment (pid {pid}) is killed with SIGKILL; {len(meanwhile)} more orders")
        self._place(meanwhile)
        self._running.start_services("payment")
        pid = children.pid("payment")
        self._show.phase(f"Payment is restarted (pid {pid}); {len(after)} more orders")
        self._place(after)
        self._wait(self._all_ended, "not every transaction ended")

    def _lose_shipping(self, after: Sequence[Planned]) -> None:
        lost = [one for one in self._planned if one.fault is Fault.SHIPPING_DOWN]
        self._running.children.stop("shipping")
        self._show.phase(
            f"Shipping is stopped; {len(lost)} orders for laptops. Five attempts each, with growing pauses"
        )
        ids = self._place(lost)

        given_up = partial(self.watch.wait_only_for, "shipping", ids)
        self._wait(given_up, "orders that can't be shipped were not refunded and released")
        self._show.say(
            "All of these are refunded and released; only shipping still has to confirm that it did nothing"
        )
        self._running.start_services("shipping")
        self._show.phase("Shipping is restarted")
        self._running.await_ready()
        self._place(after)
        self._wait(self._all_ended, "not every transaction ended")

    def _place(self, orders: Sequence[Planned]) -> list[str]:
        """Place these; their transaction ids."""
        ids = []
        for one in orders:
            ids.append(place(one.order, self._publish))
            self._placed.append(ids[-1])
            self._tick()
            time.sleep(1 / RATE)
        self._publish.flush()
        return ids

    def _await_quiet(self) -> None:
        self._show.phase("Waiting until every service has worked through its backlog")
        busy = ""

        def quiet() -> bool:
            nonlocal busy
            busy = self._running.quiet.busy() or self._unfinished()
            return not busy

        self._running.wait(quiet, lambda: f"{busy} did not finish", self._tick)

    def _unfinished(self) -> str:
        """What has not ended for the shop, and what the view has not caught up with."""
        books = Books.read(self._running.data)
        statuses = self.watch.statuses()
        for order in books.orders:
            status = statuses.get(order.transaction_id, "unknown")
            if order.status == "placed" or status not in ENDED:
                return f"{order.order_id} (to the shop {order.status}, to the platform {status})"
        return ""

    def _all_ended(self) -> bool:
        return self.watch.ended() == len(self._placed)

    def _wait(self, until: Callable[[], bool], complaint: str) -> None:
        self._running.wait(until, lambda: complaint, self._tick)

    def _tick(self) -> None:
        self._publish.poll()
        self._show.counts(self.watch.counts(), len(self._planned))
