"""A delta: what training changed, so small that it travels with the package.

In: a folder with `adapter.safetensors` and `run.json`, as training leaves it, and the folder of
the checkpoint it was trained from. Out: the checkpoint of both, in bf16, its tokenizer with
`added_tokens()`. Always holds: names are the decoder's own. `X.a` and `X.b` are an update of low
rank, `scale * B A`, of `X.weight`; `embed_tokens.added` are the added tokens' rows; any other
tensor stands for the base's.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from engine.language import added_tokens

WEIGHTS = "adapter.safetensors"
INPUTS = "run.json"
CORRECTS = "tagstream_corrects"
"""Says in a checkpoint's config that its prompts had drafts in training."""
_EMBEDDING = "model.embed_tokens.weight"
_COPIED = ("*.json", "*.jinja", "*.txt", "*.model")


def base(folder: Path) -> str:
    """What the delta was trained from. Raises `OSError`, `ValueError`."""
    return str(_recipe(folder)["base"])


def _recipe(folder: Path) -> dict[str, Any]:
    found: Any = json.loads((folder / INPUTS).read_bytes())
    try:
        recipe = {name: found["recipe"][name] for name in ("base", "rank", "alpha")}
        return recipe | {"lacking": found["recipe"].get("lacking")}
    except (KeyError, TypeError):
        raise ValueError("it has no `recipe` with `base`, `rank` and `alpha`") from None


def apply(folder: Path, below: Path, place: Path) -> None:
    """Writes the checkpoint into `place`. Raises `OSError`, `ValueError`."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AddedToken, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(below))
    added = [AddedToken(t, normalized=False, special=False) for t in added_tokens()]
    weights: dict[str, Any] = {}
    for shard in sorted(below.glob("*.safetensors")):
        weights |= load_file(str(shard))
    changes = load_file(str(folder / WEIGHTS))
    rows = changes.pop("embed_tokens.added")
    known = len(tokenizer)
    if tokenizer.add_tokens(added) != len(rows):
        raise ValueError(f"{folder} was trained with other tokens than this version's")
    recipe = _recipe(folder)
    for name, value in changes.items():
        stem, _, kind = name.rpartition(".")
        target = f"model.{stem}.weight" if kind in ("a", "b", "base") else f"model.{name}"
        if target not in weights:
            raise ValueError(f"{folder} is no delta of {below}: it has no {target}")
        if kind == "a":
            update = changes[f"{stem}.b"].float() @ value.float()
            updated = weights[target].float() + recipe["alpha"] / recipe["rank"] * update
            weights[target] = updated.to(torch.bfloat16).contiguous()
        elif kind != "b":
            weights[target] = value.to(torch.bfloat16).contiguous()
    below_rows = weights[_EMBEDDING][:known]
    weights[_EMBEDDING] = torch.cat([below_rows, rows.to(below_rows.dtype)])
    for pattern in _COPIED:
        for file in below.glob(pattern):
            if not file.name.startswith("model.safetensors"):
                shutil.copy(file, place)
    save_file(weights, str(place / "model.safetensors"), metadata={"format": "pt"})
    config = json.loads((below / "config.json").read_bytes())
    config["vocab_size"] = len(weights[_EMBEDDING])
    config[CORRECTS] = recipe["lacking"] is not None
    (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save_pretrained(str(place))


def shrink(folder: Path, target: Path) -> None:
    """Copies a run's delta in bf16, for shipping."""
    import torch
    from safetensors.torch import load_file, save_file

    target.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.to(torch.bfloat16) for k, v in load_file(str(folder / WEIGHTS)).items()}
    save_file(tensors, str(target / WEIGHTS))
    shutil.copy(folder / INPUTS, target)
