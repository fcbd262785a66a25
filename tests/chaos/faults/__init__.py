"""The faults of the catalogue, a module for each family."""

from tests.chaos.faults import broker, clients, data, inputs, network, server, store
from tests.chaos.lab import Fault

FAULTS: dict[str, Fault] = {
    **broker.FAULTS,
    **network.FAULTS,
    **store.FAULTS,
    **data.FAULTS,
    **inputs.FAULTS,
    **clients.FAULTS,
    **server.FAULTS,
}
