"""Factories and machines."""

import uuid

import sqlalchemy as sa

from enms_core.plant import Factory, Machine, Unknown
from enms_core.store.schema import factories, machines


def all_machines(connection: sa.Connection) -> list[Machine]:
    """Return the machines in the order of their names."""
    query = (
        sa.select(machines, factories)
        .join_from(machines, factories)
        .order_by(factories.c.id, machines.c.name)
        .set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)
    )
    return [_machine(row) for row in connection.execute(query).mappings()]


def rated_kw(connection: sa.Connection) -> dict[str, float | None]:
    """Return the rated power of the machines by their names, None where it is not known."""
    return dict(connection.execute(sa.select(machines.c.name, machines.c.rated_kw)).all())


def find(connection: sa.Connection, name_or_id: str) -> Machine:
    """Return the machine of that name or id; raise Unknown naming the known ones."""
    known = all_machines(connection)
    for machine in known:
        if name_or_id in (machine.name, machine.id):
            return machine
    names = ", ".join(machine.name for machine in known) or "none yet"
    raise Unknown(f"machine {name_or_id!r} is unknown; known are: {names}")


def add(connection: sa.Connection, machine: Machine) -> Machine:
    """Add a machine, and its factory where it is new; raise ValueError for a name in use."""
    if any(known.name == machine.name for known in all_machines(connection)):
        raise ValueError(f"machine {machine.name!r} is there already; choose another name")
    machine_id = str(uuid.uuid4())
    connection.execute(
        sa.insert(machines).values(
            id=machine_id,
            name=machine.name,
            type=machine.type,
            rated_kw=machine.rated_kw,
            criticality=machine.criticality,
            factory_id=_factory_id(connection, machine.factory),
        )
    )
    return find(connection, machine_id)


def weigh(connection: sa.Connection, machine: Machine) -> None:
    """Keep the criticality of a known machine, and the thresholds of its factory."""
    site = machine.factory
    mine, its = machines.c.id == machine.id, factories.c.id == site.id
    connection.execute(sa.update(machines).where(mine).values(criticality=machine.criticality))
    connection.execute(
        sa.update(factories)
        .where(its)
        .values(warning_per_hour=site.warning_per_hour, critical_per_hour=site.critical_per_hour)
    )


def _factory_id(connection: sa.Connection, factory: Factory) -> int:
    known = connection.execute(
        sa.select(factories).where(factories.c.name == factory.name)
    ).one_or_none()
    if known is None:
        row = connection.execute(
            sa.insert(factories)
            .values(
                name=factory.name,
                timezone=factory.timezone,
                currency=factory.currency,
                price_per_kwh=factory.price_per_kwh,
                carbon_kg_per_kwh=factory.carbon_kg_per_kwh,
                warning_per_hour=factory.warning_per_hour,
                critical_per_hour=factory.critical_per_hour,
            )
            .returning(factories.c.id)
        )
        return int(row.scalar_one())
    if known.timezone != factory.timezone:
        raise ValueError(
            f"factory {factory.name!r} is in {known.timezone}, not {factory.timezone}; "
            "give the machine's own factory another name"
        )
    wanted = (factory.warning_per_hour, factory.critical_per_hour)
    there = _factory(known._mapping).severe_from
    if any(w not in (None, t) for w, t in zip(wanted, there, strict=True)):
        raise ValueError(
            f"anomalies at factory {factory.name!r} are a warning from {there[0]:g} and critical "
            f"from {there[1]:g} an hour on; to change that: enms machine weigh"
        )
    return int(known.id)


def _factory(row: sa.RowMapping, prefix: str = "") -> Factory:
    return Factory(**{column.name: row[f"{prefix}{column.name}"] for column in factories.c})


def _machine(row: sa.RowMapping) -> Machine:
    return Machine(
        name=row["machines_name"],
        type=row["machines_type"],
        rated_kw=row["machines_rated_kw"],
        factory=_factory(row, "factories_"),
        id=row["machines_id"],
        criticality=row["machines_criticality"],
    )
