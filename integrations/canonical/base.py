"""What all business objects share: frozen, no unknown fields, money as Decimal, nothing lost in JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Code = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
OptionalCode = Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Period = Annotated[str, StringConstraints(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Money = Annotated[Decimal, Field(max_digits=18, decimal_places=4)]
PositiveMoney = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=4)]


class Canonical(BaseModel):
    """A business object. `schema_version` changes when a field changes its meaning or disappears."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    schema_version: ClassVar[str] = "1.0"
