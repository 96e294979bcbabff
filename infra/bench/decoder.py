"""`tagstream bench decoder`: what the decoder costs a token, and that it stays linear.

In: how often to repeat. Out: a `DecoderReport`. Answers are canonical ones, cut as models
say them: `tuned`, into added tokens and words; `plain`, into four characters each; `whole`,
not at all, counted as the tuned model's tokens. Growth is measured on answers of 1, 10 and
100 KB and on text that never closes a call; a decoder is linear if a kilobyte costs the same
in all of them. Each figure is the median of its repeats.
"""

import itertools
import re
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from engine.decoder import Decoder
from engine.language import added_tokens, write
from infra.bench.figures import Figure, figure
from infra.bench.machine import Machine, this_machine, versions
from schemas.tools import (
    Call,
    Company,
    Currency,
    DatePosted,
    Employment,
    Industry,
    IndustryName,
    Location,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Seniority,
    Skill,
    Suggest,
    Title,
    Workplace,
)

SIZES_KB = (1, 10, 100)
PIECE = 4
"""Characters of a piece that no added token covers: about what a plain tokenizer makes."""
ANSWERS: tuple[tuple[Call, ...], ...] = (
    (Plan("criteria"), Title("registered nurse"), Location("Cork")),
    (Plan("criteria"), Title("forklift driver"), Employment("full_time"), DatePosted("week")),
    (Plan("criteria"), Title("data engineer"), Company("Spotify"), Company("Klarna"),
     Location("Stockholm"), Workplace("hybrid"), Seniority("mid_senior"), Skill("Kafka")),
    (Plan("criteria"), Title("électricien"), Location("Grenoble"),
     Salary(minimum=32_000, currency=Currency("EUR"), period="year")),
    (Plan("criteria"), Industry(IndustryName("Hospitality")), Location("Oslo"),
     Suggest("industry", (IndustryName("Travel and Tourism"),))),
    (Plan("self_reference"), Rewrite("line cook jobs in Naples, Florida"), Title("line cook"),
     Location("Naples, Florida")),
    (Plan("non_job"),),
    (Plan("trust_violation"), Policy("violence")),
)  # fmt: skip
ENDLESS = {
    "open string": ('{"tool":"title","title":"', "abcdefg "),
    "escapes": ('{"a":"', '\\"'),
    "quotes": ("{", '"a"'),
    "nesting": ("", "{"),
    "lost quotes": ("", '{"a\n'),
    "no call": ("", "nothing "),
}


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds a token."""

    cut: str
    answers: int
    tokens: int
    us_per_token: Figure


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds a kilobyte, by size."""

    text: str
    cut: str
    us_per_kb: dict[int, Figure]
    ratio: float
    """The largest size's cost of a kilobyte, divided by the smallest's; 1 is linear."""


class DecoderReport(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    versions: dict[str, str]
    repeats: int
    paces: tuple[Pace, ...]
    growths: tuple[Growth, ...]


def tuned_pieces(text: str) -> list[str]:
    """As a tuned model says it: the longest added token, else a word."""
    return _TUNED.findall(text)


def pieces(text: str, size: int = PIECE) -> list[str]:
    """Cut evenly."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def grown(kilobytes: int, head: str, part: str) -> str:
    """Text of that size in characters: `head`, then `part` over and over."""
    size = kilobytes * 1_000
    return (head + part * (size // len(part) + 1))[:size]


async def run(repeats: int, progress: Callable[[str], None]) -> DecoderReport:
    """Everything; some seconds for a hundred repeats."""
    found = await versions(sys.executable)
    progress("time per token ...")
    paces = tuple(_paces(repeats))
    progress("growth ...")
    return DecoderReport(
        machine=this_machine(),
        versions=found,
        repeats=repeats,
        paces=paces,
        growths=tuple(_growths(max(1, repeats // 10))),
    )


def _paces(repeats: int) -> list[Pace]:
    texts = [write(answer) for answer in ANSWERS]
    tuned = [tuned_pieces(text) for text in texts]
    tokens = sum(map(len, tuned))
    ways = {
        "tuned": (tuned, tokens),
        "plain": (plain := [pieces(text) for text in texts], sum(map(len, plain))),
        "whole": ([[text] for text in texts], tokens),
    }
    return [
        Pace(
            cut=name,
            answers=len(cut),
            tokens=count,
            us_per_token=figure([_seconds(cut) * 1e6 / count for _ in range(repeats)]),
        )
        for name, (cut, count) in ways.items()
    ]


def _growths(repeats: int) -> list[Growth]:
    answers = "".join(map(write, ANSWERS))
    texts = {"answers": ("", answers), **ENDLESS}
    cuts: dict[str, Callable[[str], list[str]]] = {"whole": lambda text: [text], "pieces": pieces}
    return [
        _growth(name, cut, [cutting(grown(size, head, part)) for size in SIZES_KB], repeats)
        for (name, (head, part)), (cut, cutting) in itertools.product(texts.items(), cuts.items())
    ]


def _growth(text: str, cut: str, streams: Sequence[list[str]], repeats: int) -> Growth:
    costs = {
        # small ones more often, so that each size is timed over as much text
        size: figure([
            _seconds([stream] * (SIZES_KB[-1] // size)) * 1e6 / SIZES_KB[-1]
            for _ in range(repeats)
        ])
        for size, stream in zip(SIZES_KB, streams, strict=True)
    }  # fmt: skip
    ratio = costs[SIZES_KB[-1]].median / costs[SIZES_KB[0]].median
    return Growth(text=text, cut=cut, us_per_kb=costs, ratio=ratio)


def _seconds(streams: Sequence[Sequence[str]]) -> float:
    """To decode each stream, with a decoder of its own."""
    began = time.perf_counter()
    for stream in streams:
        decoder = Decoder()
        for piece in stream:
            decoder.feed(piece)
        decoder.close()
    return time.perf_counter() - began


_TUNED = re.compile(
    "|".join(re.escape(token) for token in sorted(added_tokens(), key=len, reverse=True))
    + r"|\s?\w+|."
)
