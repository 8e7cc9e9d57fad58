"""The text of a token tells a mistyped one from a real one without asking the database."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsboard.accounts import tokens


def test_a_token_has_the_announced_shape_and_is_never_the_same():
    made = {tokens.new() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"ob_svc_[0-9A-Za-z]{30}_[0-9A-Za-z]{6}", raw) for raw in made)
    assert all(tokens.well_formed(raw) for raw in made)


@given(place=st.integers(0, 43), letter=st.sampled_from("abcXYZ019_-é "))
def test_one_wrong_character_is_noticed_offline(place, letter):
    raw = tokens.new()
    typed = raw[:place] + letter + raw[place + 1 :]
    assert tokens.well_formed(typed) == (typed == raw)


@pytest.mark.parametrize("raw", ["", "ob_svc_", "Bearer x", "ob_svc_" + "a" * 30 + "_000000", "é" * 44])
def test_made_up_text_is_not_a_token(raw):
    assert not tokens.well_formed(raw)


def test_a_trailing_newline_is_not_part_of_a_token():
    assert not tokens.well_formed(tokens.new() + "\n")


def test_the_checksum_is_the_crc32_in_base62():
    # The standard check value of CRC-32 is cbf43926 for "123456789"; in base 62, highest digit first:
    assert tokens._checksum("123456789") == "3jZRME"
