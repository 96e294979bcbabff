"""Supervised fine-tuning: a base model learns the samples' answers.

In: samples, a base checkpoint, `Recipe`. Out: a run's folder with `run.json` (inputs), `log.jsonl`
(a line every few steps), and the newest checkpoint: `adapter.safetensors` (what was trained) and
`optimizer-<step>.pt`. Always holds: a run begun again in its folder goes on from the checkpoint
and, on the same machine, ends as if it had not been stopped: steps are drawn anew from the seed.

Loss: cross-entropy of the learned tokens (and of the prompt's, times `prompt_weight`), mean over
the step; AdamW, linear warm-up, cosine down to `floor`.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from engine.training.adapter import Rows, with_all, with_lora
from engine.training.sampler import Batching, Item, steps
from engine.training.samples import TASKS, Sample

Method = Literal["lora", "full"]


class TrainingError(Exception):
    """The run cannot go on as asked; one line says why."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides a run's result, beside its samples."""

    base: str = "base"
    """What the weights start from: "base", a folder, or a name on a hub."""
    method: Method = "lora"
    rank: int = 32
    alpha: float = 32.0
    rate: float = 2e-3
    floor: float = 0.1
    """The share of the rate that the cosine ends at."""
    start: str = ""
    """The folder of a run whose weights this one begins with; its optimizer is not taken over."""
    steps: int = 1_000
    warm_up: int = 40
    prompt_weight: float = 0.0
    weight_decay: float = 0.0
    clip: float = 1.0
    lacking: float = 0.25
    """The share of its names that a draft loses: no list has them all."""
    tokens_at_once: int = 3_072
    """Of one pass forward and backward; a step of more takes several."""
    longest: int = 400
    """Tokens; longer samples are left out, and counted in the log."""
    batching: Batching = Batching()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the log: means since the line before."""

    step: int
    loss: float
    tokens_per_second: float
    rate: float
    seconds: float
    """Since the run began, stops not counted."""
    validation_loss: float | None = None
    cosines: dict[str, float] = {}
    """Of the tasks' gradients, by pair."""


class Encoded(msgspec.Struct, frozen=True):
    ids: list[int]
    learned: list[bool]


class Run:
    """A run in its folder."""

    def __init__(
        self, recipe: Recipe, base: Path, folder: Path, samples: Sequence[Sample],
        validation: Sequence[Sample] = (),
    ) -> None:  # fmt: skip
        """Raises `TrainingError` if the folder holds a run of other inputs."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.recipe, self.folder = recipe, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(recipe.batching.seed)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(base))
        # Attention of fifty positions is faster spelled out than in a CPU's fused kernel.
        attention = "eager" if self.device.type == "cpu" else "sdpa"
        model = AutoModelForCausalLM.from_pretrained(
            str(base), dtype=torch.bfloat16, attn_implementation=attention
        )
        self.trained = (
            with_lora(model, self.tokenizer, recipe.rank, recipe.alpha)
            if recipe.method == "lora"
            else with_all(model, self.tokenizer)
        )
        self.layers: Any = model.get_decoder().to(self.device)
        self.samples = self._encode(samples)
        self.validation = self._encode(validation)
        kept = [s for s in samples if s.id in self.samples]
        self.encoded = [self.samples[s.id] for s in kept]
        self.items = [Item(s.task, s.tools, len(self.samples[s.id].ids)) for s in kept]
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=recipe.rate, betas=(0.9, 0.98),
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        self.done = 0
        self.seconds = 0.0
        self.resumed = ""
        self._begin(len(samples) - len(kept))

    def _begin(self, left_out: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        inputs = {
            "recipe": msgspec.to_builtins(self.recipe), "samples": len(self.items),
            "left_out": left_out, "tokens": sum(item.length for item in self.items),
            "trained_parameters": sum(p.numel() for p in self.trained.values()),
            "torch": torch.__version__, "device": self.device.type,
        }  # fmt: skip
        file = self.folder / "run.json"
        if file.is_file():
            before = json.loads(file.read_bytes())
            if any(before[k] != inputs[k] for k in ("recipe", "samples", "tokens")):
                raise TrainingError(f"{file} is of a run with other inputs: name another folder")
            same_device = before["device"] == inputs["device"]
        else:
            same_device = True
            file.with_suffix(".new").write_text(json.dumps(inputs, indent=2) + "\n")
            file.with_suffix(".new").replace(file)
        if (self.folder / "adapter.safetensors").is_file():
            self._load(same_device=same_device)
        elif self.recipe.start:
            self._take(Path(self.recipe.start) / "adapter.safetensors")
        self._forget_after(self.done)

    def _encode(self, samples: Sequence[Sample]) -> dict[str, Encoded]:
        texts = [text for sample in samples for text, _ in sample.stretches]
        if not texts:
            return {}
        ids = iter(self.tokenizer(texts, add_special_tokens=False)["input_ids"])
        found: dict[str, Encoded] = {}
        for sample in samples:
            tokens: list[int] = []
            learned: list[bool] = []
            for _, is_learned in sample.stretches:
                own = next(ids)
                tokens += own
                learned += [is_learned] * len(own)
            tokens.append(self.tokenizer.eos_token_id)
            learned.append(True)
            if len(tokens) <= self.recipe.longest:
                found[sample.id] = Encoded(tokens, learned)
        return found

    def go(
        self, tick: Callable[[Line], None], save_every: int = 200, log_every: int = 10,
        *, cosines: bool = False,
    ) -> None:  # fmt: skip
        """Trains to the end; the folder has a checkpoint every `save_every` steps.

        With `cosines` the log has those of the tasks' gradients at each checkpoint.
        """
        recipe = self.recipe
        self.layers.train()
        since, tokens, losses, count = time.monotonic(), 0, 0.0, 0
        drawn = steps(self.items, recipe.batching, recipe.steps)
        for number, step in enumerate(drawn, 1):
            if number <= self.done:
                continue
            rate = _rate(number, recipe)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses += self._step(step)
            tokens += sum(self.items[i].length for micro in step for i in micro)
            self.done, count = number, count + 1
            saved = number % save_every == 0 or number == recipe.steps
            if not saved and number % log_every:
                continue
            took = time.monotonic() - since
            self.seconds += took
            line = Line(
                step=number, loss=losses / count, tokens_per_second=tokens / took,
                rate=rate, seconds=self.seconds,
                validation_loss=self.loss(self.validation.values()) if saved else None,
                cosines=self.cosines() if saved and cosines else {},
            )  # fmt: skip
            with (self.folder / "log.jsonl").open("ab") as log:
                log.write(msgspec.json.encode(line) + b"\n")
            if saved:
                self.save()
            tick(line)
            since, tokens, losses, count = time.monotonic(), 0, 0.0, 0

    def _step(self, step: list[list[int]]) -> float:
        """One update; the mean loss of its micro-batches, each weighted by its learned tokens."""
        batches = [
            self._batch([self.encoded[i] for i in part])
            for micro in step
            for part in self._parts(micro)
        ]
        total = sum(float(weights.sum()) for _, _, weights in batches)
        loss = 0.0
        for ids, targets, weights in batches:
            part = self._loss(ids, targets, weights) / total
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(self.trained.values(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def _parts(self, micro: list[int]) -> Iterator[list[int]]:
        """A micro-batch in passes of samples of like length, `tokens_at_once` with the padding."""
        part: list[int] = []
        for i in sorted(micro, key=lambda i: self.items[i].length):
            if part and self.items[i].length * (len(part) + 1) > self.recipe.tokens_at_once:
                yield part
                part = []
            part.append(i)
        if part:
            yield part

    def _batch(self, encoded: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, targets and weights, each of shape (samples, positions), padded at the end."""
        longest = max(len(e.ids) for e in encoded)
        ids = torch.zeros(len(encoded), longest, dtype=torch.long)
        weights = torch.zeros(len(encoded), longest)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
            told = [1.0 if learned else self.recipe.prompt_weight for learned in one.learned]
            weights[row, : len(told)] = torch.tensor(told)
        return ids.to(self.device), ids[:, 1:].to(self.device), weights[:, 1:].to(self.device)

    def _loss(self, ids: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum; only positions that count go through the head."""
        with torch.autocast(self.device.type, torch.bfloat16, self.recipe.method == "full"):
            hidden = self.layers(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
            counts = weights > 0
            rows: Rows = self.layers.get_input_embeddings()
            scores = rows.logits(hidden[counts])
        each = functional.cross_entropy(scores.float(), targets[counts], reduction="none")
        return (each * weights[counts]).sum()

    def cosines(self, size: int = 32) -> dict[str, float]:
        """Between each two tasks' gradients, on their first `size` samples; nothing is updated.

        How far tasks pull the weights the same way (1), apart (0), against each other (-1).
        """
        gradients: dict[str, Tensor] = {}
        for task in TASKS:
            own = [e for e, item in zip(self.encoded, self.items, strict=True) if item.task == task]
            if not own:
                continue
            self._loss(*self._batch(own[:size])).backward()  # type: ignore[no-untyped-call]
            parts = [p.grad.flatten() for p in self.trained.values() if p.grad is not None]
            gradients[task] = torch.cat(parts)
            self.optimizer.zero_grad(set_to_none=True)
        return {
            f"{a}/{b}": float(functional.cosine_similarity(gradients[a], gradients[b], dim=0))
            for a, b in combinations(gradients, 2)
        }

    @torch.no_grad()
    def loss(self, encoded: Iterator[Encoded] | Any, size: int = 64) -> float | None:
        """The mean loss of a token, weighted as in training; None if there is none."""
        ordered = sorted(encoded, key=lambda one: len(one.ids))
        if not ordered:
            return None
        self.layers.eval()
        total, count = 0.0, 0.0
        for at in range(0, len(ordered), size):
            batch = self._batch(ordered[at : at + size])
            total += float(self._loss(*batch))
            count += float(batch[2].sum())
        self.layers.train()
        return total / count

    def save(self) -> None:
        """Writes the checkpoint; the one before stands until this one is whole."""
        tensors = {name: p.detach().cpu().contiguous() for name, p in self.trained.items()}
        facts = {"step": str(self.done), "seconds": str(self.seconds)}
        save_file(tensors, str(self.folder / "adapter.new"), metadata=facts)
        torch.save(self.optimizer.state_dict(), self.folder / "optimizer.new")
        (self.folder / "optimizer.new").replace(self._state(self.done))
        (self.folder / "adapter.new").replace(self.folder / "adapter.safetensors")
        for old in self.folder.glob("optimizer-*.pt"):
            if old != self._state(self.done):
                old.unlink()

    def _state(self, step: int) -> Path:
        return self.folder / f"optimizer-{step}.pt"

    def _load(self, *, same_device: bool) -> None:
        from safetensors import safe_open

        file = self.folder / "adapter.safetensors"
        with safe_open(str(file), framework="pt") as opened:
            facts = opened.metadata()
        self.done, self.seconds = int(facts["step"]), float(facts["seconds"])
        self._take(file)
        exact = same_device and self._state(self.done).is_file()
        if exact:
            self.optimizer.load_state_dict(torch.load(self._state(self.done), weights_only=True))
        self.resumed = "exactly" if exact else "the optimizer begun anew"

    def _forget_after(self, step: int) -> None:
        """Drops the log's lines of steps that will be made again, and what was being written."""
        log = self.folder / "log.jsonl"
        kept = []
        for text in log.read_bytes().splitlines() if log.is_file() else ():
            try:
                line = msgspec.json.decode(text, type=Line)
            except msgspec.DecodeError:
                continue  # torn by the kill
            if line.step <= step:
                kept.append(text + b"\n")
        log.write_bytes(b"".join(kept))

    def _take(self, file: Path) -> None:
        values = load_file(str(file))
        if {n: v.shape for n, v in values.items()} != {n: p.shape for n, p in self.trained.items()}:
            raise TrainingError(f"{file} is of another method or rank")
        for name, value in values.items():
            self.trained[name].data.copy_(value)


def _rate(step: int, recipe: Recipe) -> float:
    if step <= recipe.warm_up:
        return recipe.rate * step / recipe.warm_up
    share = (step - recipe.warm_up) / max(recipe.steps - recipe.warm_up, 1)
    down = (1 + math.cos(math.pi * share)) / 2
    return recipe.rate * (recipe.floor + (1 - recipe.floor) * down)
