"""That the shipped policy opens like any model, and does what the demo needs of it."""

import random
import re
from collections import Counter

import pytest

from sparkctl.method.episode import ACTIONS, CATEGORIES, messages, read_answer
from sparkctl.nano import POLICY, build, play, questions, teacher, tokenizer, world
from sparkctl.nano.solution import read, waiting
from sparkctl.tools import toolbox


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads that wait for each other beside another busy program are five times slower than one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def box():
    with toolbox(world.documents()) as tools:
        yield tools


@pytest.fixture(scope="module")
def words():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(POLICY)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(POLICY).eval()


def test_the_folder_is_small():
    files = [path for path in POLICY.iterdir() if path.is_file()]
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in files
    }
    assert sum(path.stat().st_size for path in files) <= 6_000_000


def test_the_model_is_a_llama_of_its_tokenizer(model, words):
    assert model.config.model_type == "llama"
    assert model.config.vocab_size == len(words)
    assert model.config.max_position_embeddings == 2048
    assert model.generation_config.eos_token_id == words.eos_token_id
    assert model.num_parameters() <= 2_000_000


def test_the_shipped_tokenizer_is_the_one_of_the_code(words):
    fresh = tokenizer.build()
    assert words.get_vocab() == fresh.get_vocab()
    assert words.chat_template == fresh.chat_template


@pytest.mark.slow
def test_the_policy_answers_most_test_questions(model, words, box):
    rows = questions.generate("test", 7 * len(CATEGORIES), seed=11)
    states = play.play(model, words, rows, box)
    # 0.945 was measured at n = 1400; 0.83 is five standard errors (0.023 at n = 98) below
    assert sum(play.is_correct(state, row) for state, row in zip(states, rows, strict=True)) / len(rows) > 0.83


@pytest.mark.parametrize("aux", [True, False])
def test_demonstrations_end_in_an_answer_that_is_right_unless_guessed(box, aux):
    rng = random.Random(0)
    outcomes = Counter()
    for row in questions.generate("train", 140, seed=5):
        rollout = teacher.demonstrate(row, box, rng, aux)
        *before, last = rollout.state.steps
        known = [goal for goal in waiting(read(row["cot_content"]), before) if goal.verb != "pick"] == []
        answered = read_answer(last.tool_name, last.action_query) is not None
        assert len(rollout.masked) == len(rollout.state.steps) <= teacher.MAX_STEPS
        assert answered or len(rollout.state.steps) == teacher.MAX_STEPS
        assert play.is_correct(rollout.state, row) or not answered or not known
        assert aux or not any(rollout.masked)
        outcomes["guessed" if answered and not known else "other"] += 1
    assert outcomes["guessed"] < 14  # 3 % of about 150 open steps: 4.5 expected, and 14 is 4.5 standard errors above
    assert aux or outcomes["guessed"]


def test_renaming_exchanges_names_and_nothing_else(box):
    rng = random.Random(0)
    rows = [row for row in questions.generate("train", 140, seed=5) if row["src"] == "nano-fact"]
    for row in rows:
        told = teacher.demonstrate(row, box, rng, aux=True)
        other = teacher.renamed(told, rng)
        before, after = (words_of(rollout) for rollout in (told, other))
        pairs = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
        assert pairs
        assert all(teacher.NAME.fullmatch(a) and teacher.NAME.fullmatch(b) for a, b in pairs)
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def words_of(rollout):
    chat = messages(rollout.state, "")
    return [word for message in chat for word in re.findall(r"\w+|\W", message["content"])]


def test_every_action_gets_an_input_for_every_goal_and_none_left():
    for row in questions.generate("train", 70, seed=6):
        solved = read(row["cot_content"])
        for goal in (*solved.goals, None):
            assert all(teacher.query(goal, tool, solved.answer).strip() for tool in ACTIONS)


def test_only_the_policys_own_words_are_learnt_and_masked_tool_names_are_not(box, words):
    row = questions.generate("train", 14, seed=5)[0]
    rollout = teacher.demonstrate(row, box, random.Random(0), aux=False)
    hidden = teacher.Rollout(rollout.state, (True,) * len(rollout.masked))
    plain, masked = (build.example(words, each) for each in (rollout, hidden))
    assert plain.ids == build.encode_chat(words, messages(rollout.state, ""))[:-1]
    turns = "".join(
        f"Thought: {step.thought}\nAction: {step.tool_name}\nInput: {step.action_query}<|end|>"
        for step in rollout.state.steps
    )
    assert words.decode([label for label in plain.labels if label != build.IGNORED]) == turns
    dropped = [a for a, b in zip(plain.labels, masked.labels, strict=True) if a != b]
    assert words.decode(dropped) == "".join(f" {step.tool_name}" for step in rollout.state.steps)


@pytest.mark.slow
def test_training_lowers_the_loss_and_is_repeated_exactly():
    import torch

    recipe = build.Recipe(rollouts=60, tokens=12_000, warm_up=1, width=32, inner=64, heads=1, layers=1, threads=1)
    words = tokenizer.build()
    with toolbox(world.documents()) as tools:
        examples = build.demonstrations(words, tools, recipe)[:60]
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build.new_model(words, recipe)
        before = _loss(model, examples, recipe)
        build.train(model, examples, recipe, watch=lambda: 0.0)
        assert _loss(model, examples, recipe) < before - 1  # nats per token
        weights.append(model.model.norm.weight.detach().clone())
    assert torch.equal(*weights)


def _loss(model, examples, recipe):
    ids, labels = next(iter(build.batches(examples, recipe)))
    return build.turn_loss(model, ids, labels).item()
