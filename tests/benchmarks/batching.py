"""Homogeneous, heterogeneous and mixed batches, at equal token budgets.

`python tests/benchmarks/batching.py DATA WORK --steps 120 --seeds 2` trains a model for each mode
and seed with the command line, evaluates each on DATA's held-out voices, and prints a table in
Markdown, with the cosines between the tasks' gradients during training.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

MODES = ("homogeneous", "heterogeneous", "mixed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="what `tagstream synth` made")
    parser.add_argument("work", type=Path, help="where runs are kept; done ones are not repeated")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for seed in range(1, asked.seeds + 1):
        for mode in MODES:
            rows[mode].append(one(asked, mode, seed))
    print("| batches | micro F1 | right | planner F1 | held-out loss |")
    print("| --- | --- | --- | --- | --- |")
    for mode, runs in rows.items():
        cells = (
            " / ".join(f"{run[name]:.3f}" for run in runs)
            for name in ("micro_f1", "right", "planner", "loss")
        )
        print(f"| {mode} | {' | '.join(cells)} |")
    print("\n| cosine, mean over seeds | " + " | ".join(f"step {s}" for s in steps(rows)) + " |")
    print("| --- |" + " --- |" * len(steps(rows)))
    for mode, runs in rows.items():
        for pair in runs[0]["cosines"][0][1]:
            cells = (
                f"{mean(run['cosines'][at][1][pair] for run in runs):+.2f}"
                for at in range(len(steps(rows)))
            )
            print(f"| {mode} {pair} | {' | '.join(cells)} |")


def steps(rows: dict[str, list[dict[str, Any]]]) -> list[int]:
    return [step for step, _ in rows[MODES[0]][0]["cosines"]]


def one(asked: argparse.Namespace, mode: str, seed: int) -> dict[str, Any]:
    folder = asked.work / f"{mode}-{seed}"
    tagstream(
        "train", asked.data, folder, "--batches", mode, "--seed", seed, "--steps", asked.steps,
        "--size", asked.size, "--cosines", "--save-every", max(1, asked.steps // 4),
    )  # fmt: skip
    result = folder / "eval.json"
    if not result.is_file():
        said = tagstream("eval", asked.data / "validation.jsonl", "--json", model=folder)
        result.write_text(said)
    found = json.loads(result.read_text())["reports"][0]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    planner = next(row for row in found["tools"] if row["name"] == "plan")
    return {
        "micro_f1": found["micro_f1"], "right": found["right"], "planner": planner["f1"],
        "loss": log[-1]["validation_loss"],
        "cosines": [(line["step"], line["cosines"]) for line in log if line["cosines"]],
    }  # fmt: skip


def tagstream(*words: object, model: Path | None = None) -> str:
    chosen = {"TAGSTREAM_MODEL": str(model), "TAGSTREAM_COMPILE": "false"} if model else {}
    command = [sys.executable, "-m", "infra", *map(str, words)]
    done = subprocess.run(
        command, env=os.environ | chosen, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
