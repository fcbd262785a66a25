"""The faults of the catalogue, a module for each family."""

from tests.chaos.faults import broker, clients, data, network, server, store
from tests.chaos.lab import Fault

FAULTS: dict[str, Fault] = {
    **broker.FAULTS,
    **network.FAULTS,
    **store.FAULTS,
    **data.FAULTS,
    **clients.FAULTS,
    **server.FAULTS,
}
