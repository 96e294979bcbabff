"""Training data: made from a seed, fit for the contract, and without what is kept out."""

from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import msgspec
import pytest

from engine.baseline.home import settled
from engine.evaluation.gold import Gold, errors, read, spellings
from engine.evaluation.scoring import normal, score, supported
from engine.training import noise, sources
from engine.training.parts import KINDS, Pool, plural, unsure_pay
from engine.training.samples import sample
from engine.training.synth import HELD_OUT, searches, voices, write
from engine.training.vary import canonical, pool, varied

KNOWN = voices()
SEEDS = [s for name, each in KNOWN.items() if name not in HELD_OUT for s in each]
POOL = pool(SEEDS)
MADE = list(islice(searches(SEEDS, 3), 1_500))


def test_three_thousand_searches_in_twenty_voices_and_some_held_out() -> None:
    assert sum(map(len, KNOWN.values())) >= 3_000
    assert len(KNOWN) >= 20
    assert set(HELD_OUT) < set(KNOWN)


def test_no_two_voices_have_the_same_search() -> None:
    queries = Counter(" ".join(s.query.lower().split()) for each in KNOWN.values() for s in each)
    assert not [query for query, count in queries.items() if count > 1]


def test_every_made_search_fits_the_contract_and_serving() -> None:
    for search in MADE:
        assert not list(errors(search)), search
        assert sample(search).stretches, search


def test_a_made_search_is_right_by_the_scorer() -> None:
    for search in MADE:
        calls = [c for c in search.gold if c["tool"] not in ("suggest", "rewrite")]
        gold = msgspec.structs.replace(search, gold=calls)
        assert score(gold, calls).right, search


def test_made_values_stand_in_the_query_or_the_profile() -> None:
    """But for words that only somebody who knows the trade could tell."""
    calls = [(call, s) for s in MADE for call in s.gold]
    unsupported = [(c, s.query) for c, s in calls if not supported(c, s)]
    assert len(unsupported) < 0.01 * len(calls), unsupported


def test_a_dollar_beside_a_place_of_another_dollar_is_not_made() -> None:
    place = {"tool": "location", "location": "Toronto"}
    assert unsure_pay("cook toronto $50k", [place])
    assert not unsure_pay("cook toronto 50k", [place])
    assert not unsure_pay("cook dallas $50k", [{"tool": "location", "location": "Dallas, Texas"}])
    made = [search for search in MADE if search.id.startswith("criteria-")]
    assert not [search for search in made if unsure_pay(search.query, search.gold)]


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, 60, 4, lambda: None)
    for file in ("train.jsonl", "validation.jsonl", "CARD.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    held = {s.id for s in read(tmp_path / "a" / "validation.jsonl")}
    assert held == {s.id for name in HELD_OUT for s in KNOWN[name]}


def test_nothing_kept_out_is_drawn() -> None:
    rng = Random(2)
    for kind, field in (("location", "location"), ("company", "company"), ("skill", "skill")):
        mine = {normal(v) for v in getattr(POOL, {"location": "places", "company": "companies",
                                                  "skill": "skills"}[kind])}  # fmt: skip
        for _ in range(800):
            value = str(KINDS[kind](rng, POOL).calls[0][field])
            plain = value.partition(",")[0] if kind == "location" else value
            known = normal(value) in mine or normal(value) in map(normal, sources.regions())
            assert known or not sources.kept_out(plain), value


def test_half_of_the_hand_written_searches_have_three_words_or_fewer() -> None:
    short = sum(len(s.query.split()) <= 3 for s in SEEDS)
    assert short >= 0.5 * len(SEEDS)


def gold(query: str, *calls: dict[str, object], home: str | None = None) -> Gold:
    plan: dict[str, object] = {"tool": "plan", "intent": "criteria"}
    person = {"location": home} if home else None
    return Gold(id="g", query=query, profile=person, gold=[plan, *calls])


def test_varying_changes_query_and_label_together() -> None:
    search = gold(
        "nurses in leeds under 10 applicants",
        {"tool": "title", "title": "nurse"},
        {"tool": "location", "location": "Leeds"},
        {"tool": "num_applicants", "maximum": 10},
    )
    rng = Random(7)
    seen = set()
    for _ in range(200):
        other = varied(search, rng, Pool(("welder",), ("Oslo",), ("Acme",), ("Excel",)))
        _, title, place, most = canonical(other)
        assert str(most["maximum"]) in other.query
        if other.query.islower() and title["title"] == "nurse" and "nurse" in other.query:
            assert "nurses" in other.query
        seen.add((title["title"], place["location"]))
    assert len(seen) > 20


def test_a_place_that_the_home_settles_moves_with_it() -> None:
    assert settled("Naples", "Miami, Florida") == "Naples, Florida"
    assert settled("Naples", None) == "Naples"
    assert settled("Leeds", "London, United Kingdom") == "Leeds"


@pytest.mark.parametrize(
    ("word", "many"),
    [
        ("nurse", "nurses"),
        ("secretary", "secretaries"),
        ("foreman", "foremen"),
        ("coach", "coaches"),
        ("salesperson", "salespeople"),
    ],
)
def test_plurals(word: str, many: str) -> None:
    assert plural(word) == many


@pytest.mark.parametrize(
    ("raw", "title", "level"),
    [
        ("Senior Courtroom Clerk", "courtroom clerk", "mid_senior"),
        ("Director of Nursing", "director of nursing", "director"),
        ("Chief Credit Officer", "chief credit officer", "executive"),
        ("Junior Analyst", "analyst", "entry_level"),
        ("Gas Trainee", "gas", "entry_level"),
        ("Courtroom Clerk", "courtroom clerk", None),
    ],
)
def test_level_words_leave_a_title_or_stay(raw: str, title: str, level: str | None) -> None:
    found = sources.leveled(raw)
    assert found is not None
    assert found.calls[0]["title"] == title
    assert [call["level"] for call in found.calls[1:]] == ([level] if level else [])


@pytest.mark.parametrize(
    "raw", ["Executive Assistant", "Supervisor, Graphite", "Team Lead", "Staff Nurse", "Clerk II"]
)
def test_titles_whose_level_is_unsure_are_left_out(raw: str) -> None:
    assert sources.leveled(raw) is None


def test_a_slip_changes_long_words_and_no_number() -> None:
    rng = Random(1)
    typed = [noise.misspelt("remote accountant 12345 rn", rng) for _ in range(200)]
    assert sum(text == "remote accountant 12345 rn" for text in typed) < 20
    assert all("12345" in text and text.endswith(" rn") for text in typed)


def test_first_spellings_are_what_is_learnt() -> None:
    search = gold("rn", {"tool": "title", "title": ["registered nurse", "RN"]})
    assert canonical(search)[1]["title"] == "registered nurse"
    assert spellings("x") == ["x"]
