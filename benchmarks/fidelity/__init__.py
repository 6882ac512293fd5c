"""How true the queue models are to queues that are known (docs/fidelity.md)."""

from . import bitstamp, gold

__all__ = ["bitstamp", "gold"]
