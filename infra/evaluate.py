"""`tagstream eval`: systems answer labelled searches, and are scored.

In: a gold file, the systems' names. Out: reports, and a page in Markdown if asked for. A system
is a model in the serving engine (a folder, a hub's name, or `pretrained` and `zero-shot`: the
base with examples in its prompt, and without; `no-draft`: the first one, not shown what the rules
say), or `baseline`, the rule tagger.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

from engine.answer import Usage, answer
from engine.decoder import Dropped
from engine.evaluation.gold import Gold, GoldError, read
from engine.evaluation.report import (
    SUMMARY,
    Answered,
    Difference,
    Report,
    difference,
    page,
    report,
    summary_row,
    values,
)
from engine.evaluation.scoring import Score
from engine.generation import Model
from infra.service import Progress, running_model
from infra.settings import Settings
from infra.traffic import TrafficError
from schemas.profiles import Profile
from schemas.tools import Tool

BASELINE = "baseline"
PRETRAINED = "pretrained"
ZERO_SHOT = "zero-shot"
NO_DRAFT = "no-draft"


class Evaluation(msgspec.Struct, frozen=True):
    """All systems on one file; the first is the one that the others are compared with."""

    reports: list[Report]
    differences: list[Difference]


async def evaluate(
    settings: Settings, file: Path, against: Sequence[str], seen: Path | None, out: Path | None,
    progress: Progress, *, pairs: bool = False,
) -> Evaluation:  # fmt: skip
    """Raises `TrafficError` for a file that cannot be read, `EngineError`."""
    golds = _read(file)
    if pairs and [g.query for g in golds[::2]] != [g.query for g in golds[1::2]]:
        raise TrafficError(f"{file} has no pairs: each search has to stand there twice")
    if out:
        _write(out, "")
    known = values(_read(seen)) if seen else None
    judged: list[tuple[Report, list[Answered], list[Score]]] = []
    for name in ("", *against):
        shown, answers = await _system(settings, name, golds, progress)
        one, scores = report(shown, golds, answers, known, pairs=pairs)
        judged.append((one, answers, scores))
    first = judged[0]
    reports = [one for one, _, _ in judged]
    gaps = [difference(r.system, first[2], scores) for r, _, scores in judged[1:]]
    if out:
        _write(out, page(reports, gaps, golds, first[1], first[2]))
    return Evaluation(reports, gaps)


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise TrafficError(f"{out}: {error.strerror}") from None


def _read(file: Path) -> list[Gold]:
    try:
        golds = list(read(file))
    except GoldError as error:
        raise TrafficError(str(error)) from None
    except OSError as error:
        raise TrafficError(f"{file}: {error.strerror}") from None
    if not golds:
        raise TrafficError(f"{file} has no labelled search")
    return golds


async def _system(
    settings: Settings, name: str, golds: list[Gold], progress: Progress
) -> tuple[str, list[Answered]]:
    """A system's name in the report, and its answers."""
    if name == BASELINE:
        from engine import baseline

        homes = [(gold.profile or {}).get("location") for gold in golds]
        said = [baseline.tag(g.query, home) for g, home in zip(golds, homes, strict=True)]
        return BASELINE, [_by_rules(calls) for calls in said]
    model = {"": settings.model, NO_DRAFT: settings.model, PRETRAINED: "base", ZERO_SHOT: "base"}
    chosen = msgspec.structs.replace(
        settings, model=model.get(name, name), examples=settings.examples and name != ZERO_SHOT
    )
    async with running_model(chosen, progress) as running:
        shown = f"{running.name} {name}".strip() if name in model else running.name
        asked = _Undrafted(running) if name == NO_DRAFT else running
        return shown, await _answered(asked, golds)


class _Undrafted:
    """A model that is not shown the draft."""

    corrects = False

    def __init__(self, model: Model) -> None:
        self.name, self.generate = model.name, model.generate


def _by_rules(calls: Sequence[Tool]) -> Answered:
    return Answered(calls=[msgspec.to_builtins(call) for call in calls])


async def _answered(model: Model, golds: list[Gold], at_once: int = 16) -> list[Answered]:
    room = asyncio.Semaphore(at_once)
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"asking {model.name}", total=len(golds))

        async def one(gold: Gold) -> Answered:
            async with room:
                answered = await _asked(model, gold)
            bar.advance(task)
            return answered

        return list(await asyncio.gather(*(one(gold) for gold in golds)))


async def _asked(model: Model, gold: Gold) -> Answered:
    person = gold.profile and msgspec.convert({"member_id": "", **gold.profile}, Profile)
    calls: list[Tool] = []
    dropped = 0
    usage = Usage()
    async with aclosing(answer(model, gold.query, person or None)) as items:
        async for item in items:
            match item:
                case Usage():
                    usage = item
                case Dropped():
                    dropped += 1
                case call:
                    calls.append(call)
    return Answered(
        calls=[msgspec.to_builtins(call) for call in calls],
        valid=usage.complete and not dropped,
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
    )


def tables(found: Evaluation) -> list[Table | str]:
    """For the terminal."""
    summary = Table(*SUMMARY)
    for one in found.reports:
        summary.add_row(*summary_row(one))
    shown: list[Table | str] = [summary]
    for gap in found.differences:
        cells = (f"{v[0]:+.3f} ({v[1]:+.3f} to {v[2]:+.3f})" for v in (gap.micro_f1, gap.right))
        shown.append("against {}: micro F1 {}, right {}".format(gap.against, *cells))
    first = found.reports[0]
    for name, rows in (("tool", first.tools), ("intent", first.intents)):
        table = Table(name, "precision", "recall", "F1", "in gold", "predicted")
        for row in rows:
            scores = (f"{v:.3f}" for v in (row.precision, row.recall, row.f1))
            table.add_row(row.name, *scores, str(row.gold), str(row.predicted))
        shown.append(table)
    if first.recall_seen or first.recall_unseen:
        table = Table("recall of values", "seen in training", "never seen")
        for tool in first.recall_seen | first.recall_unseen:
            parts = (d.get(tool) for d in (first.recall_seen, first.recall_unseen))
            table.add_row(tool, *(f"{p[0]:.3f} of {p[1]}" if p else "-" for p in parts))
        shown.append(table)
    return shown
