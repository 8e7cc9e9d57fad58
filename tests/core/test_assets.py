"""Files from installed packages: found, served under their digest, and nothing beside them."""

from io import StringIO
from pathlib import Path

import pytest
from django.contrib.staticfiles.finders import find
from django.core.management import call_command
from django.templatetags.static import static

from opsboard.core.finders import QuickCompressor

FONTS = ("Inter-Regular", "Inter-Medium", "Inter-SemiBold")


def place(name: str) -> Path:
    found = find(name)
    assert found, name
    return Path(found)


def test_the_listed_files_of_packages_are_found_and_no_others():
    assert place("vendor/plotly/plotly.min.js").is_file()
    for name in FONTS:
        assert place(f"vendor/inter/{name}.woff2").stat().st_size < 120_000
    assert find("vendor/plotly/widgetbundle.js") is None
    assert find("vendor/inter/../inter/Inter-Bold.woff2") is None


def test_collected_files_carry_a_digest_also_inside_style_sheets(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {}  # a new storage for the new folder
    call_command("collectstatic", interactive=False, verbosity=0, stdout=StringIO())
    (tokens,) = tmp_path.glob("css/tokens.????????????.css")
    assert "Inter-Regular." in tokens.read_text()
    assert "Inter-Regular.woff2" not in tokens.read_text()
    assert tokens.with_suffix(".css.br").is_file()
    (plotly,) = tmp_path.glob("vendor/plotly/plotly.min.????????????.js.br")
    assert plotly.stat().st_size < 1_500_000


def test_before_the_first_collection_the_plain_name_is_used(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {}
    assert static("css/base.css") == "/static/css/base.css"


@pytest.mark.parametrize("size", [1_000, 600_000])
def test_compression_gives_back_what_went_in(size):
    brotli = pytest.importorskip("brotli")
    data = b"amount;currency\n" * (size // 16)
    assert brotli.decompress(QuickCompressor.compress_brotli(data)) == data
