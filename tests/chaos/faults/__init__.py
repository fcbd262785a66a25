"""The faults of the catalogue, a module for each family."""

from tests.chaos.faults import broker, clients, network, server, store
from tests.chaos.lab import Fault

FAULTS: dict[str, Fault] = {
    **broker.FAULTS,
    **network.FAULTS,
    **clients.FAULTS,
    **store.FAULTS,
    **server.FAULTS,
}
