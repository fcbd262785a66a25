"""Routes beside the page, for `panel serve --plugins app.api`."""

from app.api.health import Health
from app.api.root import Root

ROUTES = [(r"/", Root), (r"/health", Health)]
