"""Figures about speed. One file each, with a function `measure(say) -> Figure`; found by its file name.

A figure that stands alone says little on a machine that others use, too. So every figure is measured beside a limit,
in turns, on the same servers: the ratio survives a slow machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """A measured value, the limit measured in the same run, and what share of the limit was reached."""

    name: str
    value: float
    unit: str
    limit: float
    limit_is: str
    ratio: float
    rounds: int


Measure = Callable[[Say], Figure]
HELPERS = {"room"}


def names() -> list[str]:
    """All figures, by name."""
    return sorted(found.name for found in iter_modules(__path__) if found.name not in HELPERS)


def measure(name: str, say: Say) -> Figure:
    """Measure one figure; `say` hears what is going on. Raises KeyError for a name that is not there."""
    if name not in names():
        raise KeyError(name)
    run: Measure = import_module(f"{__name__}.{name}").measure
    return run(say)
