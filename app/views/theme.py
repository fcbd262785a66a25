"""One palette, light and dark: few colours, each with one meaning."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'

# ground: page, surface: card, raised: what lies on a card, line: borders, text, quiet: less
# important text, accent: what can be chosen, and what is expected; then the states.
LIGHT = {
    "ground": "#f2f5f6",
    "surface": "#ffffff",
    "raised": "#eaeff1",
    "line": "#dde4e8",
    "text": "#101c23",
    "quiet": "#51626d",
    "accent": "#00766c",
    "accent-soft": "#d9eeeb",
    "ok": "#1d7a34",
    "warning": "#a35a00",
    "critical": "#c4202f",
    "warning-soft": "#fdf1de",
    "critical-soft": "#fce9ea",
    "shadow": "0 1px 2px rgb(16 28 35 / 6%)",
    "float": "0 8px 28px rgb(16 28 35 / 18%)",
}
DARK = {
    "ground": "#0d1316",
    "surface": "#151d21",
    "raised": "#202b31",
    "line": "#263238",
    "text": "#eef3f5",
    "quiet": "#9db0ba",
    "accent": "#45c4b4",
    "accent-soft": "#163a38",
    "ok": "#58c878",
    "warning": "#f5b14a",
    "critical": "#ff7266",
    "warning-soft": "#33270f",
    "critical-soft": "#3a1b1a",
    "shadow": "none",
    "float": "0 8px 28px rgb(0 0 0 / 55%)",
}


def variables(palette: dict[str, str]) -> dict[str, str]:
    """Return the palette as CSS variables."""
    return {f"--{name}": value for name, value in palette.items()}


def material(palette: dict[str, str]) -> dict[str, object]:
    """Return the palette as Material UI takes it."""
    return {
        "palette": {
            "primary": {"main": palette["accent"]},
            "success": {"main": palette["ok"]},
            "warning": {"main": palette["warning"]},
            "error": {"main": palette["critical"]},
            "background": {"default": palette["ground"], "paper": palette["surface"]},
            "text": {"primary": palette["text"], "secondary": palette["quiet"]},
            "divider": palette["line"],
        },
        "typography": {"fontFamily": FONT, "button": {"textTransform": "none"}},
        "shape": {"borderRadius": 10},
    }


THEME = {"light": material(LIGHT), "dark": material(DARK)}
