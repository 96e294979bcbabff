"""What a system's answers are worth: figures, tables, a page to read, two systems compared.

In: labelled searches, and for each what a system answered. Out: a `Report` of numbers, and a
page in Markdown with every error. Always holds: figures come from `engine.evaluation.scoring`
alone. The interval is a paired bootstrap over searches (Efron and Tibshirani 1993, chapter 16;
Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation").
"""

import json
from collections.abc import Iterable, Sequence, Set
from statistics import median
from typing import Any

import msgspec

from engine.evaluation.gold import ORDER, TEXT, Gold, spellings
from engine.evaluation.scoring import Counts, Score, add, normal, score

_RESAMPLES = 2_000


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A system's answer to one search."""

    calls: list[dict[str, Any]]
    valid: bool = True
    """Nothing dropped, and not cut by a limit."""
    prompt_tokens: int = 0
    output_tokens: int = 0


class Row(msgspec.Struct, frozen=True):
    """Precision, recall and F1, each with what it is counted over."""

    name: str
    precision: float
    recall: float
    f1: float
    gold: int
    predicted: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One system on one set of searches."""

    system: str
    searches: int
    micro_f1: float
    right: float
    """Share of searches without any error."""
    invalid: int
    invented: float
    """Wrong text values without support, as a share of all calls."""
    prompt_tokens: float
    output_tokens: float
    """Medians over criteria searches, the end token included."""
    tools: list[Row]
    intents: list[Row]
    denied: float = 0.0
    """Share of searches without harm that were taken for a trust violation."""
    moved: float | None = None
    """Of searches that two people asked each, the share answered differently."""
    recall_seen: dict[str, tuple[float, int]] = {}
    """Per tool, recall of values that training had, and how many there are."""
    recall_unseen: dict[str, tuple[float, int]] = {}


def report(
    system: str,
    golds: Sequence[Gold],
    answers: Sequence[Answered],
    seen: Set[str] | None = None,
    *,
    pairs: bool = False,
) -> tuple[Report, list[Score]]:
    """The figures, and each search's score.

    `seen` are training's values, as `normal` has them; with `pairs` every search stands there
    twice, asked by two people.
    """
    scores = [score(g, a.calls) for g, a in zip(golds, answers, strict=True)]
    total = sum((s.total for s in scores), Counts())
    calls = sum(s.calls for s in scores)
    usual = [a for g, a in zip(golds, answers, strict=True) if g.intent == "criteria"] or answers
    harmless = [s for g, s in zip(golds, scores, strict=True) if g.intent != "trust_violation"]
    denied = sum("trust_violation" in s.intents for s in harmless)
    heads = {True: {}, False: {}} if seen is None else _by_familiarity(golds, scores, seen)
    return Report(
        system=system,
        searches=len(golds),
        micro_f1=total.f1,
        right=sum(s.right for s in scores) / max(len(scores), 1),
        invalid=sum(not a.valid for a in answers),
        invented=sum(s.invented for s in scores) / max(calls, 1),
        prompt_tokens=median([a.prompt_tokens for a in usual] or [0]),
        output_tokens=median([a.output_tokens for a in usual] or [0]),
        tools=_rows(add(scores)),
        intents=_rows(add(scores, "intents")),
        denied=denied / max(len(harmless), 1),
        moved=moved(answers) if pairs else None,
        recall_seen=heads[True],
        recall_unseen=heads[False],
    ), scores


def _rows(counts: dict[str, Counts]) -> list[Row]:
    known = sorted(counts, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))
    return [
        Row(n, c.precision, c.recall, c.f1, c.tp + c.fn, c.tp + c.fp)
        for n, c in ((name, counts[name]) for name in known)
    ]


def values(golds: Iterable[Gold]) -> set[str]:
    """All text values of labelled searches, as `normal` has them."""
    return {
        normal(text)
        for gold in golds for call in gold.gold if (field := TEXT.get(call["tool"]))
        for text in spellings(call[field])
    }  # fmt: skip


def _by_familiarity(
    golds: Sequence[Gold], scores: Sequence[Score], seen: Set[str]
) -> dict[bool, dict[str, tuple[float, int]]]:
    counts: dict[tuple[bool, str], list[int]] = {}
    for gold, one in zip(golds, scores, strict=True):
        missed = [json.dumps(call, sort_keys=True) for call in one.missed]
        for call in gold.gold:
            field = TEXT.get(call["tool"])
            if field and not call.get("optional"):
                known = any(normal(text) in seen for text in spellings(call[field]))
                found = json.dumps(call, sort_keys=True) not in missed
                each = counts.setdefault((known, call["tool"]), [0, 0])
                each[0] += found
                each[1] += 1
    return {
        known: {tool: (n[0] / n[1], n[1]) for (k, tool), n in counts.items() if k == known}
        for known in (True, False)
    }


def moved(answers: Sequence[Answered]) -> float:
    """The share of pairs, two answers after each other, that differ by more than the region
    that a place gets from the home."""
    pairs = list(zip(answers[::2], answers[1::2], strict=True))
    return sum(_bare(a) != _bare(b) for a, b in pairs) / max(len(pairs), 1)


def _bare(answered: Answered) -> list[str]:
    calls = [
        call | {"location": call["location"].partition(",")[0]} if "location" in call else call
        for call in answered.calls
    ]
    return sorted(json.dumps(call, sort_keys=True) for call in calls)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How much better the first system is, with 95% intervals."""

    against: str
    micro_f1: tuple[float, float, float]
    """The difference, and the ends of its interval."""
    right: tuple[float, float, float]


def difference(against: str, ours: Sequence[Score], theirs: Sequence[Score]) -> Difference:
    """Both systems' scores of the same searches, drawn again together 2,000 times."""
    import numpy as np

    drawn = np.random.default_rng(1).integers(0, len(ours), (_RESAMPLES, len(ours)))
    f1s, rights = [], []
    for scores in (ours, theirs):
        counts = np.array([[s.total.tp, s.total.fp, s.total.fn, s.right] for s in scores])
        sums = np.vstack([counts.sum(0)[None], counts[drawn].sum(1)])
        f1s.append(2 * sums[:, 0] / np.maximum(2 * sums[:, 0] + sums[:, 1] + sums[:, 2], 1))
        rights.append(sums[:, 3] / len(scores))

    def interval(pair: list[Any]) -> tuple[float, float, float]:
        gap = pair[0] - pair[1]
        low, high = np.quantile(gap[1:], (0.025, 0.975))
        return float(gap[0]), float(low), float(high)

    return Difference(against=against, micro_f1=interval(f1s), right=interval(rights))


def page(
    reports: Sequence[Report], differences: Sequence[Difference], golds: Sequence[Gold],
    answers: Sequence[Answered], scores: Sequence[Score],
) -> str:  # fmt: skip
    """The report as Markdown; the errors are the first system's."""
    lines = ["# Evaluation", "", *_summary(reports), ""]
    for gap in differences:
        lines += [
            f"Against {gap.against}: micro F1 {_gap(gap.micro_f1)}, right {_gap(gap.right)}"
            " (95%, paired bootstrap).", "",
        ]  # fmt: skip
    for one in reports:
        lines += [f"## {one.system}", "", *_tables(one), ""]
    lines += [f"## Errors of {reports[0].system}", ""]
    for gold, answered, scored in zip(golds, answers, scores, strict=True):
        if scored.right:
            continue
        home = (gold.profile or {}).get("location")
        lines.append(f"- `{gold.id}` **{gold.query}**" + (f" (from {home})" if home else ""))
        lines += [f"  - wrong: `{_short(call)}`" for call in scored.wrong]
        lines += [f"  - missed: `{_short(call)}`" for call in scored.missed]
        if not answered.valid:
            lines.append("  - invalid output")
    return "\n".join(lines) + "\n"


def _gap(of: tuple[float, float, float]) -> str:
    return f"{of[0]:+.3f} ({of[1]:+.3f} to {of[2]:+.3f})"


def _short(call: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in call.items() if v is not None}, ensure_ascii=False)


SUMMARY = (
    "system", "searches", "micro F1", "right", "invented", "invalid", "denied", "moved",
    "tokens in", "out",
)  # fmt: skip


def summary_row(one: Report) -> tuple[str, ...]:
    """The cells of `SUMMARY`."""
    return (
        one.system, str(one.searches), f"{one.micro_f1:.3f}", f"{one.right:.1%}",
        f"{one.invented:.2%}", str(one.invalid), f"{one.denied:.2%}",
        "-" if one.moved is None else f"{one.moved:.2%}", f"{one.prompt_tokens:g}",
        f"{one.output_tokens:g}",
    )  # fmt: skip


def _summary(reports: Sequence[Report]) -> Iterable[str]:
    yield _line(SUMMARY)
    yield _line(["---"] * len(SUMMARY))
    yield from (_line(summary_row(one)) for one in reports)


def _tables(one: Report) -> Iterable[str]:
    for name, rows in (("tool", one.tools), ("plan: intent", one.intents)):
        yield _line((name, "precision", "recall", "F1", "in gold", "predicted"))
        yield _line(["---"] * 6)
        for row in rows:
            yield _line(
                (row.name, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}",
                 str(row.gold), str(row.predicted))
            )  # fmt: skip
        yield ""
    if one.recall_seen or one.recall_unseen:
        yield _line(("recall of values", "seen in training", "never seen"))
        yield _line(["---"] * 3)
        for tool in TEXT:
            yield _line((tool, _part(one.recall_seen, tool), _part(one.recall_unseen, tool)))


def _part(recalls: dict[str, tuple[float, int]], tool: str) -> str:
    share, count = recalls.get(tool, (0.0, 0))
    return f"{share:.3f} of {count}" if count else "-"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
