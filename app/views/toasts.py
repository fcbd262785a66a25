"""Toasts: short messages above the pill that leave by themselves."""

from collections.abc import Iterable
from pathlib import Path

import param
from panel.custom import JSComponent

from app.models.toasts import MOST, Toast
from app.safe import visible
from enms_core.store.times import now_us


class ToastArea(JSComponent):
    """Stacks toasts, at most five; the text is set as text, never as markup."""

    aside = param.Boolean(False, doc="On the left: something is open on the right.")

    _bundle = Path(__file__).parent / "toasts.js"  # its style sheet is the file beside it

    def add(self, toasts: Iterable[Toast]) -> None:
        """Show these toasts; those that come late, after an interruption, as one."""
        sent = now_us() // 1000
        for toast in toasts:
            self._send_msg(
                {
                    "kind": toast.kind,
                    "title": visible(toast.title),
                    "text": visible(toast.text),
                    "alone": toast.in_place_of_all,
                    "seconds": toast.seconds,
                    "most": MOST,
                    "sent": sent,
                }
            )
