"""What the demo prints in the end, on stdout: outcomes, two traces, the account, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kantor_examples.checkout.accounting import Books, lines
from kantor_examples.checkout.orders import Fault, Planned
from kantor_orchestrator.cli.main import main as kantor
from kantor_orchestrator.demo.verdict import outcomes, problems
from kantor_orchestrator.demo.watch import Watch

_FAULTS = {
    Fault.NONE: "nothing goes wrong",
    Fault.DECLINED: "customer has no money",
    Fault.OUT_OF_STOCK: "out of stock",
    Fault.UNSHIPPABLE: "shipping says no",
    Fault.SHIPPING_DOWN: "shipping is down",
    Fault.PAYMENT_KILLED: "payment is killed",
}
_ENDINGS = ("completed", "compensated")


def show(out: Console, planned: Sequence[Planned], books: Books, watch: Watch) -> bool:
    """Print everything; whether no order is half done."""
    statuses = watch.statuses()
    _outcomes(out, planned, books, statuses)
    _traces(out, planned, books, statuses)
    _account(out, books)
    _outage(out, planned, books, watch)
    return _verdict(out, planned, books, statuses)


def _outcomes(out: Console, planned: Sequence[Planned], books: Books, statuses: Mapping[str, str]) -> None:
    found = outcomes(planned, books, statuses)
    endings = [*_ENDINGS, *sorted({status for one in found for status in one.statuses} - {*_ENDINGS})]
    table = Table("fault", "expected", title="Outcomes", title_justify="left")
    for title in ("orders", *endings):
        table.add_column(title, justify="right")
    for one in found:
        counts = (one.count, *(one.statuses.get(status, 0) for status in endings))
        table.add_row(_FAULTS[one.fault], one.fault.ends, *(str(count or "") for count in counts))
    out.print()
    out.print(table)


def _traces(out: Console, planned: Sequence[Planned], books: Books, statuses: Mapping[str, str]) -> None:
    """One that went well, and one that shipping let down, as `kantor trace` shows them."""
    ids = {order.order_id: order.transaction_id for order in books.orders}
    for fault in (Fault.NONE, Fault.SHIPPING_DOWN):
        found = (ids.get(one.order.order_id, "") for one in planned if one.fault is fault)
        id_ = next((id_ for id_ in found if statuses.get(id_) == fault.ends), None)
        if id_ is not None:
            out.print()
            out.print(Text(f"One {fault.ends} transaction: kantor trace {id_}", style="bold"), soft_wrap=True)
            out.file.flush()
            kantor(["trace", id_], standalone_mode=False)


def _account(out: Console, books: Books) -> None:
    table = Table(title="Counted in the services' databases", title_justify="left")
    table.add_column("what")
    table.add_column("counted", justify="right")
    table.add_column("by the orders", justify="right")
    table.add_column("")
    for line in lines(books):
        agrees = Text("agrees", style="green") if line.agrees else Text("DIFFERS", style="bold red")
        table.add_row(line.what, f"{line.counted:,}", f"{line.wanted:,}", agrees)
    out.print()
    out.print(table)


def _outage(out: Console, planned: Sequence[Planned], books: Books, watch: Watch) -> None:
    lost = {one.order.order_id for one in planned if one.fault is Fault.SHIPPING_DOWN}
    tries = set()
    for order in books.orders:
        if order.order_id in lost:
            tries |= {s.attempts for s in watch.trace(order.transaction_id).steps if s.name == "shipping"}
    counted = " or ".join(str(count) for count in sorted(tries))
    booked = len(lost & books.ever_shipped)
    out.print(
        f"Shipping was asked {counted} times for each of {len(lost)} orders while it was down. "
        f"Back again, it booked {booked or 'none'} of them.",
        soft_wrap=True,
    )


def _verdict(out: Console, planned: Sequence[Planned], books: Books, statuses: Mapping[str, str]) -> bool:
    wrong = list(problems(planned, books, statuses))
    out.print()
    if wrong:
        out.print(Text("THE PROOF FAILS:", style="bold red"))
        for text in wrong:
            out.print(Text(f"  {text}"), soft_wrap=True)
        return False
    completed, rejected = len(books.with_status("completed")), len(books.with_status("rejected"))
    proof = f"NO ORDER IS HALF DONE: {len(planned)} orders, {completed} completed, {rejected} compensated, 0 in between."
    out.print(Text(proof, style="bold green"), soft_wrap=True)
    return True
