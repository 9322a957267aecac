"""Messages of the checkout example: generated from Avro schemas, do not edit.

Make it again: python -m kantor.models <folder> --out <this file>
"""

# fmt: off
# ruff: noqa
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseStock:
    """Free the stock that is set aside for this order."""

    TYPE: ClassVar[str] = "inventory.ReleaseStock"
    TOPIC: ClassVar[str] = "cmd.inventory.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "ReleaseStock",
        "namespace": "inventory",
        "kantor.topic": "cmd.inventory.v1",
        "doc": "Free the stock that is set aside for this order.",
        "fields": [{"name": "order_id", "type": "string"}],
    }

    order_id: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> ReleaseStock:
        return cls(order_id=value["order_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StockRejected:
    """There is not enough stock."""

    TYPE: ClassVar[str] = "inventory.StockRejected"
    TOPIC: ClassVar[str] = "evt.inventory.stock.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "StockRejected",
        "namespace": "inventory",
        "kantor.topic": "evt.inventory.stock.v1",
        "doc": "There is not enough stock.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "reason", "type": "string"},
        ],
    }

    order_id: str
    reason: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "reason": self.reason}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> StockRejected:
        return cls(order_id=value["order_id"], reason=value["reason"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StockReleased:
    """Stock that was set aside is free again."""

    TYPE: ClassVar[str] = "inventory.StockReleased"
    TOPIC: ClassVar[str] = "evt.inventory.stock.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "StockReleased",
        "namespace": "inventory",
        "kantor.topic": "evt.inventory.stock.v1",
        "doc": "Stock that was set aside is free again.",
        "fields": [{"name": "order_id", "type": "string"}],
    }

    order_id: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> StockReleased:
        return cls(order_id=value["order_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StockReserved:
    """Stock was set aside for an order."""

    TYPE: ClassVar[str] = "inventory.StockReserved"
    TOPIC: ClassVar[str] = "evt.inventory.stock.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "StockReserved",
        "namespace": "inventory",
        "kantor.topic": "evt.inventory.stock.v1",
        "doc": "Stock was set aside for an order.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "customer_id", "type": "string"},
            {"name": "sku", "type": "string"},
            {"name": "quantity", "type": "int"},
            {"name": "amount_cents", "type": "long"},
        ],
    }

    order_id: str
    customer_id: str
    sku: str
    quantity: int
    amount_cents: int

    def to_avro(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "customer_id": self.customer_id,
            "sku": self.sku,
            "quantity": self.quantity,
            "amount_cents": self.amount_cents,
        }

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> StockReserved:
        return cls(
            order_id=value["order_id"],
            customer_id=value["customer_id"],
            sku=value["sku"],
            quantity=value["quantity"],
            amount_cents=value["amount_cents"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentCaptured:
    """The customer has paid."""

    TYPE: ClassVar[str] = "payment.PaymentCaptured"
    TOPIC: ClassVar[str] = "evt.payment.payment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "PaymentCaptured",
        "namespace": "payment",
        "kantor.topic": "evt.payment.payment.v1",
        "doc": "The customer has paid.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "amount_cents", "type": "long"},
        ],
    }

    order_id: str
    amount_cents: int

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "amount_cents": self.amount_cents}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> PaymentCaptured:
        return cls(order_id=value["order_id"], amount_cents=value["amount_cents"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentDeclined:
    """The customer's bank said no."""

    TYPE: ClassVar[str] = "payment.PaymentDeclined"
    TOPIC: ClassVar[str] = "evt.payment.payment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "PaymentDeclined",
        "namespace": "payment",
        "kantor.topic": "evt.payment.payment.v1",
        "doc": "The customer's bank said no.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "reason", "type": "string"},
        ],
    }

    order_id: str
    reason: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "reason": self.reason}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> PaymentDeclined:
        return cls(order_id=value["order_id"], reason=value["reason"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRefunded:
    """The customer has the money back."""

    TYPE: ClassVar[str] = "payment.PaymentRefunded"
    TOPIC: ClassVar[str] = "evt.payment.payment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "PaymentRefunded",
        "namespace": "payment",
        "kantor.topic": "evt.payment.payment.v1",
        "doc": "The customer has the money back.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "amount_cents", "type": "long"},
        ],
    }

    order_id: str
    amount_cents: int

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "amount_cents": self.amount_cents}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> PaymentRefunded:
        return cls(order_id=value["order_id"], amount_cents=value["amount_cents"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPayment:
    """Give the customer the money back."""

    TYPE: ClassVar[str] = "payment.RefundPayment"
    TOPIC: ClassVar[str] = "cmd.payment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "RefundPayment",
        "namespace": "payment",
        "kantor.topic": "cmd.payment.v1",
        "doc": "Give the customer the money back.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "amount_cents", "type": "long"},
        ],
    }

    order_id: str
    amount_cents: int

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "amount_cents": self.amount_cents}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> RefundPayment:
        return cls(order_id=value["order_id"], amount_cents=value["amount_cents"])


@dataclass(frozen=True, slots=True, kw_only=True)
class BookShipment:
    """Book a parcel."""

    TYPE: ClassVar[str] = "shipping.BookShipment"
    TOPIC: ClassVar[str] = "cmd.shipping.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "BookShipment",
        "namespace": "shipping",
        "kantor.topic": "cmd.shipping.v1",
        "doc": "Book a parcel.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "sku", "type": "string"},
            {"name": "quantity", "type": "int"},
        ],
    }

    order_id: str
    sku: str
    quantity: int

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "sku": self.sku, "quantity": self.quantity}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> BookShipment:
        return cls(order_id=value["order_id"], sku=value["sku"], quantity=value["quantity"])


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelShipment:
    """Call the parcel back, or never send it."""

    TYPE: ClassVar[str] = "shipping.CancelShipment"
    TOPIC: ClassVar[str] = "cmd.shipping.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "CancelShipment",
        "namespace": "shipping",
        "kantor.topic": "cmd.shipping.v1",
        "doc": "Call the parcel back, or never send it.",
        "fields": [{"name": "order_id", "type": "string"}],
    }

    order_id: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> CancelShipment:
        return cls(order_id=value["order_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentBooked:
    """A parcel is on its way."""

    TYPE: ClassVar[str] = "shipping.ShipmentBooked"
    TOPIC: ClassVar[str] = "evt.shipping.shipment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "ShipmentBooked",
        "namespace": "shipping",
        "kantor.topic": "evt.shipping.shipment.v1",
        "doc": "A parcel is on its way.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "tracking", "type": "string"},
        ],
    }

    order_id: str
    tracking: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "tracking": self.tracking}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> ShipmentBooked:
        return cls(order_id=value["order_id"], tracking=value["tracking"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentCancelled:
    """The parcel, if there was one, is called back."""

    TYPE: ClassVar[str] = "shipping.ShipmentCancelled"
    TOPIC: ClassVar[str] = "evt.shipping.shipment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "ShipmentCancelled",
        "namespace": "shipping",
        "kantor.topic": "evt.shipping.shipment.v1",
        "doc": "The parcel, if there was one, is called back.",
        "fields": [{"name": "order_id", "type": "string"}],
    }

    order_id: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> ShipmentCancelled:
        return cls(order_id=value["order_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentUnavailable:
    """No parcel can be sent there."""

    TYPE: ClassVar[str] = "shipping.ShipmentUnavailable"
    TOPIC: ClassVar[str] = "evt.shipping.shipment.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "ShipmentUnavailable",
        "namespace": "shipping",
        "kantor.topic": "evt.shipping.shipment.v1",
        "doc": "No parcel can be sent there.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "reason", "type": "string"},
        ],
    }

    order_id: str
    reason: str

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "reason": self.reason}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> ShipmentUnavailable:
        return cls(order_id=value["order_id"], reason=value["reason"])


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced:
    """A customer ordered."""

    TYPE: ClassVar[str] = "shop.OrderPlaced"
    TOPIC: ClassVar[str] = "evt.shop.order.v1"
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "record",
        "name": "OrderPlaced",
        "namespace": "shop",
        "kantor.topic": "evt.shop.order.v1",
        "doc": "A customer ordered.",
        "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "customer_id", "type": "string"},
            {"name": "sku", "type": "string"},
            {"name": "quantity", "type": "int"},
            {"name": "amount_cents", "type": "long"},
        ],
    }

    order_id: str
    customer_id: str
    sku: str
    quantity: int
    amount_cents: int

    def to_avro(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "customer_id": self.customer_id,
            "sku": self.sku,
            "quantity": self.quantity,
            "amount_cents": self.amount_cents,
        }

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> OrderPlaced:
        return cls(
            order_id=value["order_id"],
            customer_id=value["customer_id"],
            sku=value["sku"],
            quantity=value["quantity"],
            amount_cents=value["amount_cents"],
        )
