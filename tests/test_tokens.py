"""The palette keeps its promises: text 4.5:1, marks and outlines 3:1, series 5:1, in both themes."""

import re
from pathlib import Path

import brotli
import pytest

ROOT = Path(__file__).resolve().parent.parent
CSS = ROOT / "static" / "css"
TOKENS = (CSS / "tokens.css").read_text()
PAIR = re.compile(r"--([\w-]+):light-dark\((#[0-9a-f]{6}),(#[0-9a-f]{6})\)")
COLOURS = {name: (light, dark) for name, light, dark in PAIR.findall(TOKENS)}

SURFACES = ("bg", "surface", "raised", "sunken", "hover")
TEXT = [(text, ground) for text in ("text", "text-2") for ground in (*SURFACES, "accent-bg")]
MEANING = [(name, f"{name}-bg") for name in ("bad", "warn", "good", "info")]
MEANING += [
    (name, ground) for name in ("bad", "warn", "good", "info", "accent") for ground in ("surface", "bg", "hover")
]
MEANING += [("text", f"{name}-bg") for name in ("bad", "warn", "good", "info")]
BUTTONS = [("on-accent", "accent"), ("on-accent", "accent-hover"), ("accent", "accent-bg"), ("on-bad", "bad")]
OUTLINES = [("line-strong", ground) for ground in ("surface", "bg", "raised")] + [("cp", "surface")]
SERIES = [(f"c{number}", "surface") for number in range(1, 7)]


def luminance(colour: str) -> float:
    """WCAG relative luminance of #rrggbb."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two colours."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_itself():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("pairs", "least"),
    [(TEXT, 4.5), (MEANING, 4.5), (BUTTONS, 4.5), (OUTLINES, 3.0), (SERIES, 5.0)],
    ids=["text", "meaning", "buttons", "outlines", "series"],
)
def test_contrast(pairs, least, theme):
    low = {
        f"{front} on {ground}": round(contrast(COLOURS[front][theme], COLOURS[ground][theme]), 2)
        for front, ground in pairs
        if contrast(COLOURS[front][theme], COLOURS[ground][theme]) < least
    }
    assert not low


def test_every_token_that_is_used_exists():
    defined = set(re.findall(r"(--[\w-]+):", "".join(path.read_text() for path in CSS.glob("*.css"))))
    used = {name for path in CSS.glob("*.css") for name in re.findall(r"var\((--[\w-]+)", path.read_text())}
    assert used <= defined


def test_colours_are_written_only_in_the_tokens():
    """A colour in another file would have no dark counterpart and no contrast test."""
    stray = {
        path.name: found
        for path in CSS.glob("*.css")
        if path.name not in {"tokens.css", "print.css"}
        and (found := [c for c in re.findall(r"#[0-9a-fA-F]{3,8}\b", path.read_text()) if c not in BRAND])
    }
    assert not stray


BRAND = ("#3f5de0", "#6d3fd1", "#fff")  # the mark, the same in both themes


@pytest.mark.parametrize(("folder", "limit"), [("css", 12_000), ("js", 8_000)])
def test_weight(folder, limit):
    """Bytes after brotli of all style sheets, and of all own scripts."""
    data = b"".join(path.read_bytes() for path in sorted((ROOT / "static" / folder).glob("*")))
    assert len(brotli.compress(data)) <= limit


def test_templates_carry_no_inline_style_script_or_handler():
    """The content security policy would refuse them; data blocks (application/json) are no scripts."""
    inline = r"<style|<script(?![^>]*\bsrc=)|\sstyle="
    forbidden = re.compile(inline + r"|\son\w+=[\"']|javascript:|\shx-on|\shx-vals=.js:", re.IGNORECASE)
    found = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / "templates").rglob("*.html")
        if (found := forbidden.findall(path.read_text()))
    }
    assert not found
