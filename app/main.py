"""Once per session: the page. All code is in modules, which outlive a session."""

from app.views import shell

shell.serve()
