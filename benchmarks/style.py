"""What all drawings look like, on light and on dark."""

from __future__ import annotations

_LIGHT = """
  text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; }
  .head { font-weight: 600; font-size: 18px; }
  .quiet { fill: #59636e; }
  .paper { fill: #ffffff; }
"""

_DARK = """
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .paper { fill: #0d1117; }
"""


def style(light: str, dark: str) -> str:
    """A style sheet: of texts and paper, and what a drawing has of its own."""
    return f"{_LIGHT}{light}  @media (prefers-color-scheme: dark) {{{_DARK}{dark}  }}\n"
