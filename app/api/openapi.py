"""The OpenAPI 3.1 document, made from the declarations that the handlers use."""

import inspect
from typing import Any

import msgspec

from app.api.base import Handler
from app.api.declared import Fault, Nothing, Operation
from app.api.operations import OPERATIONS

REF = "#/components/schemas/{name}"
REFUSALS = {
    400: "What was sent is wrong; `field` names where.",
    401: "Nobody known asks; send `Authorization: Bearer TOKEN`.",
    403: "The role does not suffice, or Host or Origin is foreign.",
    404: "There is none of that id.",
    409: "It cannot be done in this state.",
    413: "The body is larger than 1 MiB.",
    415: "The Content-Type is not one of those named.",
    503: "The store is busy, locked or full; `Retry-After` says when to try again.",
}


def document(operations: tuple[Operation, ...] = OPERATIONS) -> dict[str, Any]:
    """Return the document.

    >>> sorted(document()["paths"]["/api/v1/machines"])
    ['get', 'post']
    """
    types = [o.answer for o in operations] + [o.body for o in operations if o.body is not None]
    _, components = msgspec.json.schema_components([*types, Fault], ref_template=REF)
    paths: dict[str, Any] = {}
    for operation in operations:
        path = paths.setdefault(f"/api/v1{operation.path}", {})
        path[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "EnMS analytics",
            "version": "1",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    summary = (inspect.getdoc(operation.do) or "").splitlines()[0]
    found: dict[str, Any] = {
        "operationId": operation.do.__name__,
        "summary": summary,
        "description": f"Needs the role {operation.role}.",
        "parameters": [
            *_parameters(operation.in_path, "path"),
            *_parameters(operation.query, "query"),
        ],
        "responses": {str(operation.status): _answer(operation), **_refusals(operation)},
    }
    if operation.body is not None:
        content = {"application/json": {"schema": _schema(operation.body)}}
        if operation.csv_body:
            content["text/csv"] = {"schema": {"type": "string"}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameters(declared: type[msgspec.Struct], place: str) -> list[dict[str, Any]]:
    if declared is Nothing:
        return []
    _, components = msgspec.json.schema_components([declared], ref_template=REF)
    schema = components[declared.__name__]
    return [
        {
            "name": name,
            "in": place,
            "required": place == "path" or name in schema.get("required", ()),
            "schema": _without_null(each),
        }
        for name, each in schema["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter: one that is not given is not null but absent."""
    options = [o for o in schema.get("anyOf", ()) if o != {"type": "null"}]
    kept = {k: v for k, v in schema.items() if k != "anyOf" and not (k == "default" and v is None)}
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
    return (
        {**kept, **options[0]}
        if len(options) == 1
        else {**kept, **({"anyOf": options} if options else {})}
    )


def _answer(operation: Operation) -> dict[str, Any]:
    content = {"application/json": {"schema": _schema(operation.answer)}}
    if operation.is_list:
        content["text/csv"] = {"schema": {"type": "string"}}
    return {"description": "As asked.", "content": content}


def _refusals(operation: Operation) -> dict[str, Any]:
    statuses = {400, 401, 403, 503, *operation.refusals}
    if operation.in_path is not Nothing:
        statuses.add(404)
    if operation.method != "GET":
        statuses |= {409, 413, 415}
    content = {"application/json": {"schema": _schema(Fault)}}
    return {
        str(status): {"description": REFUSALS[status], "content": content}
        for status in sorted(statuses)
    }


def _schema(wanted: Any) -> Any:
    (schema,), _ = msgspec.json.schema_components([wanted], ref_template=REF)
    return schema


class OpenApi(Handler):
    """Answers with the document."""

    def get(self) -> None:
        """Answer with the document."""
        self.write(document())
