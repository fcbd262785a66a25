"""Who may: people and programs have a role, and a role may do what those before it may.

viewer reads; analyst also trains, acknowledges, labels, reports and sends readings; admin also adds
machines, activates models and gives rights.
"""

from dataclasses import dataclass

ROLES = ("viewer", "analyst", "admin")


class Forbidden(PermissionError):
    """The role does not suffice; the message says which one would."""


@dataclass(frozen=True)
class Person:
    """Somebody known: by a login, by a token, or as the local user of an open plant.

    >>> Person("anna", "analyst").require("viewer")
    >>> Person("anna", "analyst").require("admin")
    Traceback (most recent call last):
    ...
    enms_core.people.Forbidden: anna has the role analyst; this needs the role admin
    """

    name: str
    role: str

    def __post_init__(self) -> None:
        checked_role(self.role)

    def may(self, role: str) -> bool:
        """Return whether this role is theirs or below theirs."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: str) -> None:
        """Raise Forbidden unless they may."""
        if not self.may(role):
            raise Forbidden(f"{self.name} has the role {self.role}; this needs the role {role}")


def checked_role(role: str) -> str:
    """Return the role; raise ValueError naming the known ones."""
    if role not in ROLES:
        raise ValueError(f"role {role!r} is unknown; it must be one of {', '.join(ROLES)}")
    return role


LOCAL = Person("local user", "admin")  # of a plant that is open on loopback
