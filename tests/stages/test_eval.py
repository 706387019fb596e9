"""What must hold of eval: the policy chooses, what fails is counted, answers are read as `sparkctl score` reads them."""

import pyarrow as pa
import pytest

from helpers.tables_and_fakes import question, questions_table
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError
from sparkctl.method import checks, scoring, tables
from sparkctl.method.answers import guess
from sparkctl.method.episode import ACTIONS
from sparkctl.method.ports import Reply
from sparkctl.method.rollouts import content
from sparkctl.stages.eval import STAGE, Eval
from sparkctl.stages.stage import Context
from sparkctl.tools.settings import Tools
from sparkctl.training.adapters import write_questions

SETTINGS = Eval(policy="p", prompt="s", tools=Tools(descriptions={a: a for a in ACTIONS}), steps=3)
PATIENT = SETTINGS.model_copy(update={"max_failed": 0.6})


def run(script, n=1, settings=SETTINGS, tools=None, fails=lambda request: False, warn=lambda line: None):
    """Rows for n questions whose policy says script[step - 1] at each step; an Exception, and what `fails`, is a failed
    call."""
    seen = []

    def policy(requests):
        seen.extend(requests)
        said = [script[len([m for m in r["messages"] if m["role"] == "assistant"])] for r in requests]
        return [
            Reply(None, str(s) if isinstance(s, Exception) else "down")
            if isinstance(s, Exception) or fails(r)
            else Reply(
                {
                    "completions": [
                        {"text": s, "ids": list(range(len(str(s).split()))), "logprobs": [], "finish": "stop"}
                    ],
                    "prompt_tokens": 100,
                }
            )
            for s, r in zip(said, requests, strict=True)
        ]

    def answer(requests):
        return [Reply({"text": f"seen {r['query']}", "ok": r["query"] != "bad"}) for r in requests]

    context = Context(policy=lambda adapter: policy, tools=tools or answer, warn=warn)
    made = STAGE.run({"eval_questions": questions_table(n)}, settings, context)["answers"]
    return checks.check(made, "answers", "made").to_pylist(), seen


def test_actions_are_taken_until_the_answer():
    rows, seen = run([" t\nAction: search\nInput: x", " t\nAction: cot\nInput: Answer: 2"])
    wanted = {
        "tools": ["search"],
        "steps": 2,
        "answer": "A",
        "extracted_by": "text",
        "is_correct": True,
        "failed_calls": 0,
        "tokens": 5 + 6,
        "prompt_tokens": 2 * 100,
        "cost_usd": None,
    }
    assert {k: rows[0][k] for k in wanted} == wanted
    assert seen[1]["messages"][-1]["content"] == "Observation: seen x"


def test_a_price_per_token_gives_each_answer_its_cost():
    """By hand: 200 prompt tokens at 3 dollars a million, 11 sampled ones at 15."""
    script = [" t\nAction: search\nInput: x", " t\nAction: cot\nInput: Answer: 2"]
    priced = Eval(**SETTINGS.model_dump(exclude={"usd_per_million_tokens"}), usd_per_million_tokens=(3.0, 15.0))
    assert run(script, settings=priced)[0][0]["cost_usd"] == pytest.approx((600 + 165) / 1e6)


def test_what_was_not_counted_has_no_cost():
    """Replies that were remembered before prompts were counted."""

    def policy(requests):
        return [Reply({"completions": [{"text": " t\nAction: cot\nInput: Answer: 2", "ids": [1]}]}) for _ in requests]

    priced = Eval(**SETTINGS.model_dump(exclude={"usd_per_million_tokens"}), usd_per_million_tokens=(3.0, 15.0))
    made = STAGE.run(
        {"eval_questions": questions_table(1)}, priced, Context(policy=lambda _: policy, tools=lambda r: [])
    )
    row = made["answers"].to_pylist()[0]
    assert (row["tokens"], row["prompt_tokens"], row["cost_usd"]) == (1, None, None)


@pytest.mark.parametrize("price", [[-1, 2], [1, float("inf")], [float("nan"), 1], [1], "cheap"])
def test_what_is_no_price_is_refused(price):
    with pytest.raises(SparkError, match=r"eval\.usd_per_million_tokens"):
        checked(Eval, SETTINGS.model_dump() | {"usd_per_million_tokens": price}, "eval")


def test_reasoning_without_an_answer_is_a_choice_of_cot():
    rows, _ = run([" t\nAction: cot\nInput: let me think", " t\nAction: cot\nInput: Answer: A"])
    assert (rows[0]["tools"], rows[0]["steps"], rows[0]["extracted_by"]) == (["cot"], 2, "letter")


def test_unreadable_turns_and_failed_calls_are_counted_apart_and_seen_by_the_policy():
    rows, seen = run([" gibberish", " t\nAction: hammer\nInput: x", " t\nAction: search\nInput: bad"])
    row = rows[0]
    assert (row["failed_calls"], row["unreadable_turns"], row["tools"], row["steps"]) == (1, 2, ["search"], 3)
    assert (row["answer"], row["is_correct"]) == (None, False)
    assert "error: no 'Action:' line" in seen[1]["messages"][-1]["content"]
    assert "error: unknown action 'hammer'" in seen[2]["messages"][-1]["content"]


def test_a_cot_that_goes_on_is_neither_a_failed_call_nor_unreadable():
    rows, _ = run([" t\nAction: cot\nInput: hm", " t\nAction: cot\nInput: Answer: A"])
    assert (rows[0]["failed_calls"], rows[0]["unreadable_turns"]) == (0, 0)


def test_an_answer_that_cannot_be_read_is_wrong_and_ends_the_rollout():
    rows, seen = run([" t\nAction: cot\nInput: Answer: none of these"])
    assert (rows[0]["answer"], rows[0]["extracted_by"], rows[0]["is_correct"], len(seen)) == (None, None, False, 1)


COT_SAYS = (
    *("Answer: **A**", "Answer: \\boxed{A}", "Answer: A, 2", "Answer: (A)/(B)", "Answer: A) or B)", "Answer: A. coli"),
    *("Answer: 2", "Answer: E", "Answer: J", "Answer: none", "Answer: (A). No. Answer: none", "Answer: A\nB"),
)


@pytest.mark.parametrize("mode", ["strict", "official"])
@pytest.mark.parametrize("said", COT_SAYS)
def test_an_answer_is_read_as_score_reads_it(said, mode):
    """Strict: what the cot says. Official: the last turn as it is written, with the guess of the same seed."""
    settings = SETTINGS.model_copy(update={"scoring": mode, "seed": 3})
    rows, _ = run([f" t\nAction: cot\nInput: {said}"], n=9, settings=settings)
    asked = questions_table(9).to_pylist()
    outputs = pa.table(
        {
            "question_id": [row["question_id"] for row in rows],
            "model_output": [said if mode == "strict" else row["output"] for row in rows],
            "options": [q["options"] for q in asked],
            "answer": [q["answer"] for q in asked],
        }
    )
    scored = scoring.score(outputs, mode, 3, "f").to_pylist()
    assert [row["is_correct"] for row in rows] == [row["is_correct"] for row in scored]
    guessed = [row["extracted_by"] == "guess" for row in rows]
    assert [None if g else row["answer"] for g, row in zip(guessed, rows, strict=True)] == [
        row["answer_read"] for row in scored
    ]
    assert mode == "official" or not any(guessed)


def test_official_scoring_reads_the_last_turn_and_guesses_where_it_finds_nothing():
    settings = SETTINGS.model_copy(update={"scoring": "official"})
    stray = [" t\nAction: search\nInput: vitamin C"]
    row = run(stray * 3, settings=settings)[0][0]
    assert (row["answer"], row["extracted_by"], row["is_correct"]) == ("C", "official", False)
    rows, _ = run([" t\nAction: search\nInput: x"] * 3, n=40, settings=settings)
    assert {row["extracted_by"] for row in rows} == {"guess"}
    assert [row["answer"] for row in rows] == [guess(i + 1, list("wxyz"), 0).letter for i in range(40)]
    # One in four is right by luck; each of the questions has A for an answer.
    assert [row["is_correct"] for row in rows] == [row["answer"] == "A" for row in rows]
    assert {True, False} == {row["is_correct"] for row in rows}


def test_after_a_failed_call_nothing_is_read_nor_guessed():
    settings = PATIENT.model_copy(update={"scoring": "official"})
    rows, _ = run([" t\nAction: search\nInput: vitamin A", RuntimeError("no")], settings=settings)
    assert (rows[0]["answer"], rows[0]["extracted_by"], rows[0]["is_correct"]) == (None, None, None)


def test_how_answers_are_read_is_one_of_two_and_enters_the_key():
    with pytest.raises(SparkError, match=r"eval\.scoring: Input should be 'official' or 'strict', got 'lenient'"):
        checked(Eval, SETTINGS.model_dump() | {"scoring": "lenient"}, "eval")
    assert SETTINGS.identity()["scoring"] == "strict"


def test_no_answer_in_the_last_step_is_wrong():
    rows, seen = run([" t\nAction: search\nInput: x"] * 3)
    assert (rows[0]["steps"], rows[0]["answer"], rows[0]["is_correct"], len(seen)) == (3, None, False, 3)


def test_a_failed_call_ends_the_rollout_neither_right_nor_wrong():
    rows, _ = run([" t\nAction: search\nInput: x", RuntimeError("too long")], settings=PATIENT)
    assert (rows[0]["error"], rows[0]["is_correct"], rows[0]["tools"], rows[0]["steps"]) == (
        "too long",
        None,
        ["search"],
        1,
    )


@pytest.mark.parametrize(("n", "failing", "ends"), [(100, 2, False), (100, 3, True), (50, 1, False), (49, 1, True)])
def test_more_failed_calls_than_allowed_end_the_stage(n, failing, ends):
    """One call for each question, 2 % of which may fail: exactly as many are let through."""

    def fails(request):
        return any(f"what is {i + 1} + 1?" in str(request["messages"]) for i in range(failing))

    said = []
    script = [" t\nAction: cot\nInput: Answer: 2"]
    if ends:
        with pytest.raises(
            SparkError, match=rf"^eval: {failing} of {n} calls of the policy failed, more than eval\.max_fail"
        ):
            run(script, n, fails=fails, warn=said.append)
        assert said == []
    else:
        rows, _ = run(script, n, fails=fails, warn=said.append)
        assert [row["is_correct"] for row in rows[: failing + 1]] == [None] * failing + [False]
        assert [line.split(";")[0] for line in said] == [
            f"{failing} of {n} calls of the policy failed, {failing} of them with: down"
        ]


def test_all_calls_of_all_steps_count_as_calls():
    """49 rollouts of two calls, and one whose second fails: 1 of 100."""
    script = [" t\nAction: search\nInput: x", " t\nAction: cot\nInput: Answer: 2"]
    said = []
    run(script, 50, fails=lambda r: "what is 7 + 1?" in str(r["messages"]) and len(r["messages"]) > 2, warn=said.append)
    assert said[0].startswith("1 of 100 calls")


def test_a_tool_that_fails_is_no_outage():
    rows, _ = run([" t\nAction: search\nInput: x"] * 3, tools=lambda calls: [Reply(None, "down")] * len(calls))
    assert (rows[0]["failed_calls"], rows[0]["is_correct"], rows[0]["error"]) == (3, False, None)


def test_how_many_calls_may_fail_is_not_in_the_key():
    assert PATIENT.identity() == SETTINGS.identity()


def test_samples_are_rows_of_their_own_with_their_own_seeds():
    rows, seen = run([" t\nAction: cot\nInput: Answer: 2"], n=2, settings=SETTINGS.model_copy(update={"samples": 2}))
    assert [(r["question_id"], r["sample_id"]) for r in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert len({r["seed"] for r in seen}) == 4


def test_the_same_question_gets_the_same_seed_under_every_policy():
    _, base = run([" t\nAction: cot\nInput: Answer: 2"])
    _, spark = run([" t\nAction: cot\nInput: Answer: 2"], settings=SETTINGS.model_copy(update={"name": "spark"}))
    assert [r["seed"] for r in base] == [r["seed"] for r in spark]


def test_an_adapter_is_not_asked_what_it_was_trained_on(tmp_path):
    every = [question(i, question=f"what is {i}?") for i in range(9)]
    asked = tables.from_rows("questions", every[:5])
    said = [Reply({"completions": [{"text": " t\nAction: cot\nInput: Answer: 2", "ids": [1]}]})]
    context = Context(policy=lambda adapter: lambda requests: said * len(requests), tools=lambda calls: [])
    inputs = {"eval_questions": asked, "adapter": tmp_path}
    write_questions(tmp_path, [content(q) for q in every[3:]])
    with pytest.raises(SparkError, match="trained on 2 of these 5 questions"):
        STAGE.run(inputs, SETTINGS, context)
    write_questions(tmp_path, [content(q) for q in every[5:]])
    assert len(STAGE.run(inputs, SETTINGS, context)["answers"]) == 5


def test_padding_does_not_hide_a_question_that_was_trained_on():
    options = ["a", "b"]
    assert content(question(1, options=[*options, "N/A", " N/A"])) == content(question(1, options=options))


def few_shot(k=1, shots=None, dataset=None, n=1):
    """What the policy is asked with k examples, from a table or a data set."""
    seen = []

    def policy(requests):
        seen.extend(requests)
        return [Reply({"completions": [{"text": " t\nAction: cot\nInput: Answer: 2", "ids": []}]}) for _ in requests]

    settings = SETTINGS.model_copy(update={"shots": k, "shots_from": "hub:x@1:validation"})
    inputs = {"eval_questions": questions_table(n)} | ({} if shots is None else {"examples": shots})
    context = Context(policy=lambda adapter: policy, tools=lambda calls: [], dataset=dataset)
    STAGE.run(inputs, settings, context)
    return [request["messages"] for request in seen]


def solved(*ids):
    rows = [question(i, category=question(1)["category"], cot_content=f"so {i}") for i in ids]
    return tables.from_rows("questions", rows)


def test_worked_examples_come_between_the_system_prompt_and_the_question():
    (chat,) = few_shot(2, solved(7, 1, 8, 9))
    assert [m["role"] for m in chat] == ["system", *["user", "assistant"] * 2, "user"]
    assert [m["content"][:21] for m in chat if m["role"] == "user"] == [f"Question: what is {i} +" for i in (7, 8, 1)]
    assert chat[4]["content"] == "Thought: so 8\nAction: cot\nInput: Answer: A"


def test_examples_may_come_from_a_data_set_and_are_held_to_the_contract():
    asked = []
    assert few_shot(1, dataset=lambda source: asked.append(source) or solved(7)) == few_shot(1, solved(7))
    assert asked == ["hub:x@1:validation"]
    with pytest.raises(SparkError, match=r"hub:x@1:validation: .*column"):
        few_shot(1, dataset=lambda source: pa.table({"x": [1]}))


def test_too_few_examples_stop_before_anything_is_asked():
    with pytest.raises(SparkError, match="hub:x@1:validation has 1 worked examples"):
        few_shot(2, solved(7))


def test_what_was_answered_without_examples_keeps_its_key():
    assert "shots_from" not in SETTINGS.identity()
    one, two = (SETTINGS.model_copy(update={"shots": 1, "shots_from": place}) for place in ("here", "there"))
    assert one.identity() == two.identity() == SETTINGS.identity() | {"shots": 1}
