"""The order of the rooms, kept by import-linter in every test run."""

from importlinter.cli import lint_imports


def test_every_room_imports_only_what_stands_below_it(capsys):
    broken = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert not broken, capsys.readouterr().out
