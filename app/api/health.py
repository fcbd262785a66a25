"""Is the server there, and is it still the same process?"""

from app.api.base import Handler
from app.server import BOOT


class Health(Handler):
    """Public, without detail."""

    role = None

    def get(self) -> None:
        """Answer with the name of this process."""
        self.write({"status": "ok", "boot": BOOT})
