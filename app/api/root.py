"""The address without a path leads to the page."""

from app.api.base import Handler


class Root(Handler):
    """Redirects to the page, with the query."""

    role = None

    def get(self) -> None:
        """Answer with the page's address."""
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"main{query}")
