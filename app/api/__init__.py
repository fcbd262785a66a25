"""Routes beside the page, for `panel serve --plugins app.api`."""

from itertools import groupby
from operator import attrgetter

from app import login
from app.api import streams
from app.api.health import Detail, Health, Metrics
from app.api.lost import Lost
from app.api.openapi import OpenApi
from app.api.operations import OPERATIONS
from app.api.rest import Rest
from app.api.root import Root

login.install()
_named_first = sorted(OPERATIONS, key=lambda o: (o.pattern.count("("), o.pattern))
_by_path = groupby(_named_first, key=attrgetter("pattern"))
ROUTES = [
    (r"/", Root),
    (r"/health", Health),
    (r"/health/detail", Detail),
    (r"/metrics", Metrics),
    (r"/api/v1/openapi.json", OpenApi),
    *streams.ROUTES,
    *((pattern, Rest, {"operations": tuple(found)}) for pattern, found in _by_path),
    (r"/api/.*", Lost),
]
