"""`tagstream synth` and `tagstream train`: data from the recipe, a model from the data.

In: folders and a recipe. Out: files there; bars on stderr. Always holds: a run that is killed
goes on from its last checkpoint when the same command is given again.
"""

from pathlib import Path
from typing import cast, get_args

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.evaluation.gold import Gold, GoldError, read
from engine.generation import EngineError
from engine.training.sampler import Batching, Mode
from engine.training.samples import sample
from engine.training.sft import Line, Method, Recipe, Run, TrainingError
from engine.training.synth import write
from engine.weights import calm_threads, prepare
from infra.console import note
from infra.settings import Settings


class DataError(EngineError):
    """Training data cannot be made or read; one line says why."""


def _bar(*texts: str) -> Progress:
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*shown, TimeRemainingColumn(), *map(TextColumn, texts),
                    console=Console(stderr=True))  # fmt: skip


def synth(folder: Path, size: int, seed: int) -> None:
    """Raises `DataError`."""
    with _bar() as bar:
        task = bar.add_task("making searches", total=size)
        try:
            write(folder, size, seed, lambda: bar.advance(task))
        except GoldError as error:
            raise DataError(str(error)) from None
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror}") from None


def recipe(
    *, base: str, method: str, mode: str, curriculum: bool, steps: int, size: int,
    rate: float | None, floor: float, rank: int, balance: float, prompt_weight: float,
    start: Path | None, seed: int,
) -> Recipe:  # fmt: skip
    """Raises `ValueError` for a method or a way of batching that there is not."""
    for given, kind, name in ((method, Method, "method"), (mode, Mode, "batches")):
        if given not in get_args(kind):
            raise ValueError(f"--{name} {given}: choose of {', '.join(get_args(kind))}")
    batching = Batching(
        mode=cast(Mode, mode), size=size, balance=balance, curriculum=curriculum, seed=seed
    )
    return Recipe(
        base=base, method=cast(Method, method), rank=rank, alpha=float(rank), steps=steps,
        rate=rate or {"lora": 2e-3, "full": 2e-4}[method], floor=floor,
        warm_up=min(40, steps // 5), prompt_weight=prompt_weight, batching=batching,
        start=str(start) if start else "",
    )  # fmt: skip


def train(
    settings: Settings, data: Path, out: Path, recipe: Recipe, save_every: int, *, cosines: bool
) -> Path:
    """The run's folder, which is a model to name. Raises `DataError`, `EngineError`."""
    calm_threads()
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    base = prepare(recipe.base, Path(settings.model_cache).expanduser(), "none", note).path
    try:
        samples = [sample(gold, recipe.lacking) for gold in _read(data / "train.jsonl")]
        held = data / "validation.jsonl"
        validation = [sample(gold) for gold in _read(held)] if held.is_file() else []
        run = Run(recipe, base, out, samples, validation)
    except (TrainingError, OSError, ValueError, IndexError) as error:
        raise DataError(str(error)) from None
    if run.done:
        note(f"going on from step {run.done} ({run.resumed})")
    with _bar("loss {task.fields[loss]:.3f}", "{task.fields[speed]:.0f} tokens/s") as bar:
        task = bar.add_task(out.name, total=recipe.steps, completed=run.done, loss=0.0, speed=0.0)

        def tick(line: Line) -> None:
            bar.update(task, completed=line.step, loss=line.loss, speed=line.tokens_per_second)

        try:
            run.go(tick, save_every, cosines=cosines)
        except OSError as error:
            raise DataError(f"{out}: {error.strerror}") from None
    plot(out)
    return out


def _read(file: Path) -> list[Gold]:
    try:
        return list(read(file))
    except GoldError as error:
        raise DataError(str(error)) from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: `tagstream synth` makes it") from None


def plot(folder: Path) -> None:
    """Writes `curves.svg`: the losses by step."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        note("no curves.svg: install tagstream[train] for it")
        return
    lines = [msgspec.json.decode(text, type=Line) for text in _log(folder)]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([one.step for one in lines], [one.loss for one in lines], label="training")
    held = [(one.step, one.validation_loss) for one in lines if one.validation_loss is not None]
    if held:
        axes.plot(*zip(*held, strict=True), marker="o", label="voices held out")
    axes.set(xlabel="step", ylabel="loss of a learned token", yscale="log", title=folder.name)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(folder / "curves.svg")


def _log(folder: Path) -> list[bytes]:
    return (folder / "log.jsonl").read_bytes().splitlines()
