"""What is not there: said as everything else is."""

from app.api.base import Handler


class Lost(Handler):
    """Answers what no other route does."""

    def answer(self) -> None:
        """Say where what there is can be read."""
        self.refuse(404, f"{self.request.path} is not there; see /api/v1/openapi.json", "unknown")

    get = post = put = patch = delete = options = answer
