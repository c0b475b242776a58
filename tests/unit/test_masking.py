"""Secrets are gone from what is kept, however the web spells them and wherever a text was cut."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cronsvc.domain.masking import MASK, SHORTEST, Masks

SECRET = 'pä/ss "w&rd" <1>+=x'


def masks(*secrets: str) -> Masks:
    made = Masks()
    for secret in secrets:
        made.hide(secret)
    return made


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote(SECRET),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        html.escape(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.replace("/", "\\/"),
    ],
)
def test_every_spelling_goes(spelt: str) -> None:
    text = masks(SECRET).text(f"before {spelt} after")
    assert spelt not in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert MASK in text


def test_results_are_masked_in_depth_in_names_and_in_numbers() -> None:
    mask = masks("hunter22", "12345678")
    assert mask.value({"a": ["xhunter22x", {"hunter22": 1}], "n": 12345678, "f": 1.5, "t": True, "z": None}) == {
        "a": [f"x{MASK}x", {MASK: 1}],
        "n": MASK,
        "f": 1.5,
        "t": True,
        "z": None,
    }


@given(st.integers(SHORTEST, 19))
def test_a_cut_leaves_no_beginning_and_no_end(length: int) -> None:
    secret = "abcdefghijklmnopqrst"
    mask = masks(secret)
    assert mask.text("text " + secret[:length]) == "text " + MASK
    assert mask.text(secret[-length:] + " text") == MASK + " text"


@given(st.text(min_size=SHORTEST, max_size=40), st.text(max_size=50), st.text(max_size=50))
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    assume(secret.strip() == secret and secret not in MASK and not any("\ud800" <= each <= "\udfff" for each in secret))
    assert secret not in masks(secret).text(before + secret + after).replace(MASK, "\0")


def test_the_longer_of_two_goes_as_a_whole() -> None:
    assert masks("hunter22", "hunter22-long").text("hunter22-long") == MASK


def test_lines_of_a_key_go_one_by_one_and_its_frame_stays() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END PRIVATE KEY-----\n"
    text = masks(pem).text("it said: 9w0BAQEFAASCBKcwggSj -----BEGIN PRIVATE KEY----- there")
    assert text == f"it said: {MASK} -----BEGIN PRIVATE KEY----- there"


def test_nothing_to_hide_changes_nothing() -> None:
    assert not masks("abc").any  # too short to be told from other text
    assert masks().value({"a": [1, "b"]}) == {"a": [1, "b"]}
