"""The recipe: batches, samples, runs that are killed, and the delta that is left of them."""

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from engine import delta
from engine.decoder import Decoder, Dropped
from engine.draft import draft
from engine.evaluation.gold import Gold
from engine.language import PLAN_SELF_REFERENCE, added_tokens
from engine.prompt import continued, render
from engine.training.sampler import Batching, Item, Mode, steps
from engine.training.samples import TASKS, Sample, answer, sample
from engine.training.sft import Line, Recipe, Run, TrainingError
from engine.weights import WeightsError, prepare
from schemas.profiles import Profile
from schemas.tools import Call, Location, Plan, Salary, Suggest, Title

SIZES = {"planning": 40, "tagging": 400, "rewriting": 60, "suggestion": 20}
ITEMS = [
    Item(task, ("plan", "policy") if n % 9 == 0 else ("plan", "title"), 5 + n % 17)
    for task in TASKS
    for n in range(SIZES[task])
]


@pytest.mark.parametrize("mode", ["homogeneous", "heterogeneous", "mixed"])
def test_steps_are_drawn_from_the_seed(mode: Mode) -> None:
    how = Batching(mode=mode, size=8, seed=5)
    first, again = (list(steps(ITEMS, how, 40)) for _ in range(2))
    assert first == again
    assert first[:10] == list(steps(ITEMS, how, 40))[:10]
    assert first != list(steps(ITEMS, msgspec.structs.replace(how, seed=6), 40))


def tasks_of(step: list[list[int]]) -> list[set[str]]:
    return [{ITEMS[i].task for i in micro} for micro in step]


def test_homogeneous_batches_have_one_task_and_all_tasks_get_a_turn() -> None:
    drawn = list(steps(ITEMS, Batching(mode="homogeneous", size=8), 200))
    assert all(len(tasks) == 1 for step in drawn for tasks in tasks_of(step))
    assert {t for step in drawn for tasks in tasks_of(step) for t in tasks} == set(TASKS)


def test_heterogeneous_batches_mix_tasks() -> None:
    drawn = list(steps(ITEMS, Batching(mode="heterogeneous", size=8), 100))
    assert all(len(step) == 1 and len(step[0]) == 8 for step in drawn)
    assert sum(len(tasks_of(step)[0]) > 1 for step in drawn) > 50


def test_a_mixed_step_has_a_micro_batch_of_each_task() -> None:
    for step in steps(ITEMS, Batching(mode="mixed", size=8), 30):
        assert tasks_of(step) == [{task} for task in TASKS]


def test_balance_evens_the_tasks_out() -> None:
    def share(balance: float) -> float:
        how = Batching(mode="heterogeneous", size=8, balance=balance)
        drawn = Counter(ITEMS[i].task for step in steps(ITEMS, how, 300) for i in step[0])
        return drawn["suggestion"] / drawn.total()

    assert share(1.0) == pytest.approx(20 / 520, abs=0.02)
    assert share(0.0) == pytest.approx(0.25, abs=0.05)


def test_the_curriculum_begins_with_one_task_and_ends_with_all() -> None:
    how = Batching(mode="homogeneous", size=4, curriculum=True, balance=0.0)
    drawn = [tasks_of(step)[0] for step in steps(ITEMS, how, 400)]
    assert set.union(*drawn[:40]) == {TASKS[0]}
    assert set.union(*drawn[200:]) == set(TASKS)


def test_a_rare_call_is_drawn_more_often_than_its_share() -> None:
    how = Batching(mode="homogeneous", size=8, balance=1.0)
    items = [i for i in ITEMS if i.task == "tagging"]
    drawn = Counter(items[i].tools for step in steps(items, how, 400) for i in step[0])
    rare = sum("policy" in item.tools for item in items) / len(items)
    assert drawn["plan", "policy"] / drawn.total() > rare * 1.3


def test_no_samples_are_no_steps() -> None:
    with pytest.raises(ValueError, match="no samples"):
        next(steps([], Batching(), 1))


def gold(query: str, *calls: dict[str, Any], profile: Any = None, intent: str = "criteria") -> Gold:
    plan = {"tool": "plan", "intent": intent}
    return Gold(id="g", query=query, profile=profile, gold=[plan, *calls])


def test_an_answer_is_the_first_spellings_without_the_optional_calls() -> None:
    search = gold(
        "rn jobs 85k retail",
        {"tool": "title", "title": ["registered nurse", "RN"]},
        {"tool": "skill", "skill": "nursing", "optional": True},
        {"tool": "industry", "industry": "Retail"},
        {"tool": "salary", "minimum": 85000.0, "maximum": None, "currency": None, "period": "year"},
        {"tool": "suggest"},
    )
    plan, title, _, pay, suggest = answer(search)
    assert (plan, title) == (Plan("criteria"), Title("registered nurse"))
    assert pay == Salary(minimum=85_000, period="year")
    assert isinstance(suggest, Suggest)
    assert "Retail" not in suggest.values
    assert "85000," in sample(search).stretches[-1][0]


def test_a_sample_is_what_serving_writes_and_decodes() -> None:
    home = {"title": "Nurse", "location": "Leeds"}
    search = gold(
        "near me",
        {"tool": "rewrite", "must_include": ["Leeds"], "query": "jobs in Leeds"},
        {"tool": "location", "location": ["Leeds", "Leeds, UK"]},
        profile=home,
        intent="self_reference",
    )
    made = sample(search)
    person = Profile(member_id="", title="Nurse", location="Leeds")
    first = render("near me", draft("near me", "Leeds"))
    text = "".join(text for text, _ in made.stretches)
    assert text.startswith(continued(first, person))
    assert made.task == "rewriting"
    said = PLAN_SELF_REFERENCE + made.stretches[-1][0]
    assert [learned for _, learned in made.stretches] == [False, True, False, True]
    decoded = Decoder().feed(said)
    assert not any(isinstance(item, Dropped) for item in decoded)
    assert decoded == answer(search)


def test_a_draft_in_training_lacks_some_names_and_now_and_then_all() -> None:
    search = gold("nurse leeds", {"tool": "title", "title": "nurse"})
    whole = render("nurse leeds", draft("nurse leeds"))
    assert sample(search).stretches[0][0] == whole
    made = Counter(
        sample(msgspec.structs.replace(search, id=f"s-{n}"), 0.25).stretches[0][0]
        for n in range(1_000)
    )
    kept: list[list[Call]] = [[], [Title("nurse")], [Location("leeds")], draft("nurse leeds")]
    assert set(made) == {render("nurse leeds", names) for names in kept}
    assert 400 < made[whole] < 600
    assert made[render("nurse leeds")] > 100
    place = "nurse springfield"
    home = msgspec.structs.replace(search, query=place, profile={"location": "Chicago, Illinois"})
    for n in range(100):
        made_one = sample(msgspec.structs.replace(home, id=f"s-{n}"), 0.25)
        assert "springfield, Illinois" in made_one.stretches[0][0]


WORDS = ("nurse", "cook", "driver", "teacher", "welder", "clerk")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the base model's tokenizer and next to no weights."""
    folder = tmp_path_factory.mktemp("tiny")
    base = prepare("base", Path("~/.cache/tagstream").expanduser(), "none", lambda _: None).path
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(str(folder))
    return folder


def samples() -> list[Sample]:
    rng = Random(1)
    made = []
    for n in range(60):
        word = rng.choice(WORDS)
        search = gold(f"{word} jobs", {"tool": "title", "title": word})
        made.append(sample(msgspec.structs.replace(search, id=str(n))))
    return made


def recipe(tiny: Path, **changes: Any) -> Recipe:
    batching = Batching(mode="heterogeneous", size=8)
    usual = Recipe(base=str(tiny), steps=12, warm_up=2, rank=4, alpha=4.0, batching=batching)
    return msgspec.structs.replace(usual, **changes)


def train(tiny: Path, folder: Path, asked: Recipe, last: int | None = None) -> list[Line]:
    """Runs, and is killed after a step if `last` says so."""
    lines: list[Line] = []

    def tick(line: Line) -> None:
        lines.append(line)
        if line.step == last:
            raise KeyboardInterrupt

    run = Run(asked, tiny, folder, samples(), samples()[:6])
    try:
        run.go(tick, save_every=4, log_every=2)
    except KeyboardInterrupt:
        assert last
    return lines


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_killed_run_ends_as_if_it_had_not_been(tiny: Path, tmp_path: Path, method: str) -> None:
    asked = recipe(tiny, method=method)
    whole = train(tiny, tmp_path / "whole", asked)
    train(tiny, tmp_path / "killed", asked, last=6)  # its checkpoint is of step 4
    resumed = train(tiny, tmp_path / "killed", asked)
    assert [line.step for line in resumed] == [6, 8, 10, 12]
    assert [line.loss for line in resumed] == [line.loss for line in whole if line.step > 4]
    logged = (tmp_path / "killed" / "log.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in logged] == [2, 4, 6, 8, 10, 12]
    one, other = (load_file(str(tmp_path / name / delta.WEIGHTS)) for name in ("whole", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one | other)


def test_a_run_from_another_is_killed_before_its_first_checkpoint(
    tiny: Path, tmp_path: Path
) -> None:
    train(tiny, tmp_path / "first", recipe(tiny))
    asked = recipe(tiny, start=str(tmp_path / "first"))
    whole = train(tiny, tmp_path / "whole", asked)
    train(tiny, tmp_path / "killed", asked, last=2)
    again = train(tiny, tmp_path / "killed", asked)
    assert [line.loss for line in again] == [line.loss for line in whole]
    logged = (tmp_path / "killed" / "log.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in logged] == [line.step for line in whole]


def test_a_start_of_another_rank_is_refused(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "first", recipe(tiny))
    with pytest.raises(TrainingError, match="rank"):
        train(tiny, tmp_path / "second", recipe(tiny, rank=2, start=str(tmp_path / "first")))


def test_checkpoints_come_when_asked_for(tiny: Path, tmp_path: Path) -> None:
    run = Run(recipe(tiny, steps=7), tiny, tmp_path, samples(), samples()[:6])
    lines: list[Line] = []
    run.go(lines.append, save_every=3, log_every=10, cosines=True)
    assert [line.step for line in lines] == [3, 6, 7]
    assert all(line.validation_loss and line.loss < 20 for line in lines)
    assert all(-1.01 <= value <= 1.01 for line in lines for value in line.cosines.values())


def test_a_tuned_base_is_refused(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", recipe(tiny))
    merged = tmp_path / "merged"
    merged.mkdir()
    delta.apply(tmp_path / "run", tiny, merged)
    with pytest.raises(ValueError, match="tuned already"):
        Run(recipe(tiny), merged, tmp_path / "again", samples())


def test_training_learns(tiny: Path, tmp_path: Path) -> None:
    lines = train(tiny, tmp_path, recipe(tiny, method="full", rate=5e-3, steps=24))
    assert lines[-1].loss < lines[0].loss * 0.8
    assert lines[-1].validation_loss is not None


def test_a_folder_of_another_run_is_refused(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path, recipe(tiny))
    with pytest.raises(TrainingError, match="other inputs"):
        train(tiny, tmp_path, recipe(tiny, rate=1.0))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_delta_put_together_is_the_model_that_was_trained(
    tiny: Path, tmp_path: Path, method: str
) -> None:
    asked = recipe(tiny, method=method, rate=5e-3)
    run = Run(asked, tiny, tmp_path / "run", samples())
    run.go(lambda _: None)
    merged = tmp_path / "merged"
    merged.mkdir()
    delta.apply(tmp_path / "run", tiny, merged)
    plain = LlamaForCausalLM.from_pretrained(str(merged), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(merged))
    assert len(tokenizer) == len(plain.get_input_embeddings().weight)
    assert all(len(tokenizer.encode(t, add_special_tokens=False)) == 1 for t in added_tokens())
    ids = torch.tensor([run.encoded[0].ids])
    run.layers.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, method == "full"):
        hidden = run.layers(input_ids=ids).last_hidden_state
        ours = run.layers.get_input_embeddings().logits(hidden).float()
    with torch.no_grad():
        theirs = plain(input_ids=ids).logits
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_a_shrunken_delta_is_a_model_to_name(tiny: Path, tmp_path: Path) -> None:
    run = Run(recipe(tiny), tiny, tmp_path / "run", samples())
    run.go(lambda _: None)
    delta.shrink(tmp_path / "run", tmp_path / "small")
    made = prepare(str(tmp_path / "small"), tmp_path / "cache", "int8", lambda _: None)
    assert made.name.startswith("small@")
    assert json.loads((made.path / "config.json").read_bytes())[delta.CORRECTS] is True
    inputs = json.loads((tmp_path / "small/run.json").read_bytes())
    del inputs["recipe"]["lacking"]  # as runs were before there were drafts
    (tmp_path / "small/run.json").write_text(json.dumps(inputs))
    made = prepare(str(tmp_path / "small"), tmp_path / "cache", "int8", lambda _: None)
    assert json.loads((made.path / "config.json").read_bytes())[delta.CORRECTS] is False
    before, after = (tmp_path / n / delta.WEIGHTS for n in ("run", "small"))
    assert after.stat().st_size < 0.6 * before.stat().st_size


def test_a_delta_without_its_inputs_says_so(tmp_path: Path) -> None:
    (tmp_path / delta.WEIGHTS).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"run\.json"):
        prepare(str(tmp_path), tmp_path / "cache", "none", lambda _: None)
