"""Plants faults one by one in a copy of the source; the named tests must catch each. Run: make mutants

A mutant that lives means that its fault could be in the product and no test would say so. Exit code 1 then.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """A fault: in `file`, `old` (which must occur exactly once) becomes `new`; `tests` must fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant("a failed write leaves its half-written file", "store.py", "        remove(temporary)\n", "        pass\n", "test_store.py"),
    Mutant("a table is written without being checked", "store.py", '    table = tables.check(table, name, f"what would be {path.name}", may_be_empty=True)\n', "", "test_store.py"),
    Mutant("the provenance is left out of the footer", "store.py", '{"table": name} | provenance', '{"table": name}', "test_store.py"),
    Mutant("gc takes what another run uses", "store.py", 'self.root.glob("*/[!.]*")', 'self.run.glob("[!.]*")', "test_store.py"),
    Mutant("what made an adapter counts as what it holds", "store.py", "if p.name != _PROVENANCE]", "if p.name]", "test_store.py"),
    Mutant("what the embedded judge runs does not enter its key", "wiring.py", "digest([RUBRIC_VERSION, toolports.embedded_scope(tools)])", "digest([RUBRIC_VERSION])", "test_recipe.py"),
    Mutant("a stage that is up to date runs again", "pipeline.py", "        return fate\n    return replace(fate, runs=True", "        pass\n    return replace(fate, runs=True", "test_pipeline.py"),
    Mutant("the bytes of the inputs do not enter the key", "pipeline.py", '        "inputs": inputs,', '        "inputs": {},', "test_pipeline.py"),
    Mutant("the stage's version does not enter the key", "pipeline.py", '        "version": node.stage.version,', '        "version": 0,', "test_pipeline.py"),
    Mutant("the model does not enter the key", "pipeline.py", '        "identities": node.identities,', '        "identities": {},', "test_pipeline.py"),
    Mutant("knobs enter the key", "settings.py", "exclude=set(self.knobs)", "exclude=set()", "test_recipe.py"),
    Mutant("an unknown setting is taken without a word", "settings.py", 'extra="forbid"', 'extra="ignore"', "test_recipe.py"),
    Mutant("failures are remembered", "ports.py", "if reply.error is None}", "if reply}", "test_ports.py"),
    Mutant("the scope does not enter memory's digest", "ports.py", "digest([scope, request]) for request in part", "digest([request]) for request in part", "test_ports.py"),
    Mutant("the scope does not enter the digest of a reply kept singly", "ports.py", "digest([scope, request]) for request in requests", "digest([request]) for request in requests", "test_ports.py"),
    Mutant("a score at the threshold is not viable", "selection.py", "scores >= threshold", "scores > threshold", "test_selection.py"),
    Mutant("usage is not counted as choices are made", "selection.py", "counts[pick] += 1", "counts[pick] += 0", "test_selection.py"),
    Mutant("ties go to the lower score", "selection.py", '        order = _preferred(scores[part], "best")', '        order = _preferred(scores[part], "lowest_viable")', "test_selection.py"),
    Mutant("usage of the rounds before is forgotten", "stages/select.py", '_usage(inputs.get("steps"))', "_usage(None)", "stages/test_select.py"),
    Mutant("a failed judge scores zero", "stages/judge.py", "if scored else None,\n        \"reason\"", "if scored else 0.0,\n        \"reason\"", "stages/test_judge.py"),
    Mutant("a rollout goes on after its answer", "stages/select.py", "done = written is not None or", "done = written is None and", "stages/test_select.py"),
    Mutant("an observation keeps its lines and can forge an action", "episode.py", ".encode(\"utf-8\", \"replace\").decode().split())", ".encode(\"utf-8\", \"replace\").decode().split(\" \"))", "test_episode.py"),
    Mutant("the first answer of a cot counts, not the last", "episode.py", "action_query.rsplit(ANSWER, 1)", "action_query.split(ANSWER, 1)", "test_episode.py"),
    Mutant("any action may answer", "episode.py", "if tool_name != COT or", "if", "test_episode.py"),
    Mutant("the index counts where it contradicts the letter", "rollouts.py", 'reading.letter == question["answer"]', 'reading.letter == "ABCDEFGHIJ"[question["answer_index"]]', "test_rollouts.py"),
    Mutant("evaluation asks training questions", "stages/questions.py", "if content(q) not in taken]", "if q]", "stages/test_questions.py"),
    Mutant("common tools are rewarded, not rare ones", "objective/rewards.py", "-math.log(share)", "1 + math.log(share)", "objective/test_rewards.py"),
    Mutant("correctness is paid to wrong rollouts", "objective/rewards.py", "weights.correctness * float(correct)", "weights.correctness", "objective/test_rewards.py"),
    Mutant("correctness is imputed to what was not executed", "stages/train.py", 'self.correct if action == self.step["tool_name"] else None', "self.correct", "stages/test_train.py"),
    Mutant("the last step of a rollout earns no correctness", "stages/train.py", 'rows[-1]["is_correct"]', 'rows[0]["is_correct"]', "stages/test_train.py"),
    Mutant("a leave-one-out baseline that is the mean", "objective/advantages.py", "* len(values) / (len(values) - 1)", "* 1.0", "objective/test_advantages.py"),
    Mutant("an estimate forgets what comes later", "objective/advantages.py", "+ gamma * lam * later", "", "objective/test_advantages.py"),
    Mutant("a nudge may turn the sign", "objective/advantages.py", "min(max(bonus, -bound), bound)", "bonus", "objective/test_advantages.py"),
    Mutant("the clipped surrogate takes the larger side", "objective/losses.py", "value = torch.minimum(ratios", "value = torch.maximum(ratios", "objective/test_losses.py"),
    Mutant("the ratio of a sequence is that of its first action", "objective/losses.py", "index_add(0, rollout, values)", "scatter(0, rollout, values)", "objective/test_losses.py"),
    Mutant("the share of a fork leaves out its length", "objective/losses.py", "    means = per_action(logprobs, mask)\n", "    means = (logprobs * mask).sum(1)\n", "objective/test_losses.py"),
    Mutant("loss falls on a prompt token", "objective/packing.py", "(row + 1) * tail))\n", "(row + 1) * tail) - 1)\n", "objective/test_packing.py"),
    Mutant("a token sees its siblings", "objective/packing.py", "(key <= query) & (query < last[None])", "(key <= query)", "objective/test_packing.py"),
    Mutant("a token's position is its place in the packed sequence", "objective/packing.py", "_whole(layout.depth) for layout", "torch.arange(len(layout.ids)) for layout", "objective/test_packing.py"),
    Mutant("rows see their padding", "objective/packing.py", "attention[row, width - len(tokens) :] = 1", "attention[row, :] = 1", "objective/test_packing.py"),
    Mutant("a large fork weighs more than a small one", "objective/packing.py", '"share": 1.0 / sizes[fork]', '"share": 1.0 / sizes[fork] ** 0', "objective/test_packing.py"),
    Mutant("micro-batches are averaged as if they were of one size", "objective/trainer.py", "((loss * batch.share).sum() / states).backward()", "(loss * batch.share).mean().backward()", "objective/test_trainer.py"),
    Mutant("trees are not checked against rows", "objective/trainer.py", '            self.packing = "rows"\n', "", "objective/test_trainer.py"),
    Mutant("the critic's gradient is lost with its adapter", "objective/trainer.py", "        with lora.acting(self.model, lora.CRITIC):\n", "        with lora.acting(self.model, lora.ACTOR):\n", "objective/test_trainer.py"),
    Mutant("a resumed training forgets its optimiser", "objective/trainer.py", '        self.optimiser.load_state_dict(state["optimiser"])\n', "", "objective/test_trainer.py"),
    Mutant("a gradient that is not finite is taken", "objective/trainer.py", "            self._stop(number, trees)\n", "            pass\n", "objective/test_trainer.py"),
    Mutant("dropout of the base model stays on", "objective/lora.py", "            module.p = 0.0\n", "            pass\n", "objective/test_trainer.py"),
    Mutant("an adapter is laid over any precision", "adapters.py", "if precision != asked and not settings.any_precision:", "if False:", "backends/test_learner.py"),
    Mutant("another tokenizer's tokens are trained on", "tokens.py", "    _check_tokens(inputs[\"candidates\"], reader, policy)\n", "", "stages/test_train.py"),
    Mutant("what is too long for the model is trained on", "tokens.py", "> longest:", "> 10**9:", "stages/test_train.py"),
    Mutant("contradicting parts are taken without a word", "stages/train.py", "                raise ValueError(why)\n", "                pass\n", "stages/test_train.py"),
    Mutant("training without signal goes on", "stages/train.py", "    _check_signal(entries, settings)\n", "", "stages/test_train.py"),
    Mutant("a sampled token depends on its neighbours", "backends/transformers_engine.py", "s.draw() for s in sequences", "sequences[0].draw() for s in sequences", "backends/test_transformers_engine.py"),
    Mutant("padding is attended to", "backends/transformers_engine.py", "[0] * (width - len(p.ids)) + [1]", "[1] * (width - len(p.ids)) + [1]", "backends/test_transformers_engine.py"),
    Mutant("the final rule of official scoring takes the first letter", "reading.py", 'r"\\A.*\\b([A-J])\\b"', 'r"\\A.*?\\b([A-J])\\b"', "test_reading.py test_scoring.py"),
    Mutant("official scoring looks for a line's first answer", "reading.py", 'r"^.*[aA]nswer:', 'r"^.*?[aA]nswer:', "test_reading.py test_scoring.py"),
    Mutant("the first commitment counts, not the last", "reading.py", "in reversed(list(_CUE.finditer(output)))", "in list(_CUE.finditer(output))", "test_reading.py"),
    Mutant("a letter beyond the options lets an earlier one back", "reading.py", "            return Reading(named[\"letter\"], \"letter\") if one else None\n", "            if one:\n                return Reading(named[\"letter\"], \"letter\")\n", "test_reading.py"),
    Mutant("'A or B' commits to A", "reading.py", 'one = not named["others"] and', "one =", "test_reading.py"),
    Mutant("the questions that a model invents are read", "reading.py", "            return output[: found.start()]\n", "            return output\n", "test_reading.py"),
    Mutant("strict scoring guesses too", "scoring.py", '        return read_strict(written, row["options"])\n', '        return read_strict(written, row["options"]) or guess(row["question_id"], row["options"], seed)\n', "test_scoring.py"),
    Mutant("an output that is missing is guessed", "scoring.py", "        return None\n    if mode", "        return guess(row[\"question_id\"], row[\"options\"], seed)\n    if mode", "test_scoring.py"),
    Mutant("a genus is read as a letter", "reading.py", "|\\.(?!{_GOES_ON})", "|\\.(?!\\w)", "test_reading.py"),
    Mutant("a label before any text is a letter", "reading.py", 'if option and re.match(rf"{re.escape(option)}(?!\\w)", after) else None', 'if option else None', "test_reading.py"),
    Mutant("'(A)/(B)' commits to A", "reading.py", "(?:[,;]|/|&", "(?:[,;]|&", "test_reading.py"),
    Mutant("eval and score read the same words differently", "rollouts.py", "read_strict(str(action_query)", "read_strict(f\"Answer: {written}\"", "test_reading.py"),
    Mutant("the macro average weighs by size", "report/scorecard.py", "for part in parts.values()])", "for part in parts.values() for _ in range(len(part))])", "report/test_scorecard.py"),
    Mutant("outputs of one question are independent", "report/scorecard.py", 'scored["question_id"].to_pylist()', "range(len(scored))", "report/test_scorecard.py"),
    Mutant("eval scores strictly whatever the setting", "stages/eval.py", 'if settings.scoring == "strict" else', "if settings else", "stages/test_eval.py"),
    Mutant("official scoring in eval does not guess", "stages/eval.py", ' or guess(question["question_id"], question["options"], seed)', "", "stages/test_eval.py"),
    Mutant("after a failed call an earlier turn is read", "stages/eval.py", "    if run.error is not None:\n        return None\n", "", "stages/test_eval.py"),
    Mutant("an unreadable turn is a failed call", "stages/eval.py", "run.unreadable_turns += 1", "run.failed_calls += 1", "stages/test_eval.py"),
    Mutant("a guess counts as read", "report/summary.py", ' or row["extracted_by"] == "guess"', "", "report/test_summary.py"),
    Mutant("failed calls are a share of the turns", "report/diversity.py", "proportion(failed, np.bincount(row, calls))", "proportion(failed, turns)", "report/test_diversity.py"),
    Mutant("Holm corrects every p-value alike", "report/statistics.py", "(len(p_values) - i) * p_values[name]", "len(p_values) * p_values[name]", "report/test_statistics.py"),
    Mutant("corrected p-values may fall", "report/statistics.py", "highest = max(highest, min(1.0, ", "highest = max(0.0, min(1.0, ", "report/test_statistics.py"),
    Mutant("a test of one side", "report/statistics.py", "2 * float(bdtr(", "1 * float(bdtr(", "report/test_statistics.py"),
    Mutant("the planned number of questions forgets power", "report/statistics.py", "NormalDist().inv_cdf(POWER)", "0.0", "report/test_statistics.py"),
    Mutant("a category is judged without correction", "report/comparison.py", "evidence=corrected[c] < LEVEL", "evidence=f.p < LEVEL", "report/test_comparison.py"),
    Mutant("answers are paired by position", "report/comparison.py", '    answers = answers.sort_by("question_id")\n', "", "report/test_comparison.py"),
    Mutant("other questions are compared", "report/comparison.py", "if len(only_a) or len(only_b):", "if len(only_a) and len(only_b):", "report/test_comparison.py"),
    Mutant("names in the report are not escaped", "report/page.py", "autoescape=True", "autoescape=False", "report/test_page.py"),
    Mutant("rollouts are embedded as they are", "report/page.py", "base64.b64encode(gzip.compress(json.dumps(walked).encode(), 6, mtime=0)).decode()", "json.dumps(walked)", "report/test_page.py"),
    Mutant("any script may run in the report", "report/page.html", "script-src 'sha256-{{ script_digest }}'", "script-src 'unsafe-inline'", "report/test_page.py"),
    Mutant("no evidence is called a fall", "report/verdict.py", "    answer = changed if accuracy.evidence else _NO_EVIDENCE\n", "    answer = changed\n", "report/test_panels.py"),
    Mutant("the verdict hides the loss that is not ruled out", "report/verdict.py", "if low < 0 and not accuracy.evidence else", "if False else", "report/test_panels.py"),
    Mutant("a price that is unknown counts as nothing", "report/panels.py", '"price_unknown": len(prices) - len(known)', '"price_unknown": 0', "report/test_panels.py"),
    Mutant("terms of actions that were dropped count", "report/panels.py", 'kept = [row for row in credit if row["dropped_because"] is None]', "kept = list(credit)", "report/test_panels.py"),
    Mutant("ties of scores count as in order", "report/panels.py", "(below + upto).sum() / 2", "upto.sum()", "report/test_panels.py"),
    Mutant("all steps are the first", "report/panels.py", "tool_counts([tools[step : step + 1] for tools in taken], questions)", "tool_counts([tools[:1] for tools in taken], questions)", "report/test_panels.py"),
    Mutant("nano's figures are passed off as more", "report/page.py", "nano=NANO_SAYS if any(of.run.is_nano for of in found) else None", "nano=None", "report/test_page.py"),
    Mutant("a changed run keeps its old report", "reporting.py", "[run.run.name, _files(run), run.records()]", "[run.run.name]", "test_reporting.py"),
    Mutant("an unchanged run writes its report again", "reporting.py", "    if path.is_file() and page.made_of(", "    if False and page.made_of(", "test_reporting.py"),
    Mutant("a reply is kept only at the end", "ports.py", "            memory.keep({name: reply}, account)\n", "", "test_ports.py"),
    Mutant("failed calls are not booked", "ports.py", "sum(reply.cost_usd or 0.0 for reply in replies.values())", "sum(reply.cost_usd or 0.0 for reply in good.values())", "test_ports.py"),
    Mutant("the candidates are shown in one order", "judging.py", "    random.Random(seed).shuffle(candidates)\n", "", "stages/test_judge.py"),
    Mutant("a re-ask does not say what was wrong", "judging.py", "f\"This cannot be used: {fault}. Answer again,", "f\"Answer again,", "backends/test_litellm_judge.py"),
    Mutant("a malformed answer is not asked about again", "backends/litellm_judge.py", "if first.body is None or fault is None:\n            return first", "if first.body is None or fault is None:\n            return first\n        return Reply(None, f\"{fault} (asked twice)\", first.cost_usd)", "backends/test_litellm_judge.py"),
    Mutant("the second answer is not checked", "backends/litellm_judge.py", "return Reply(None, f\"{fault} (asked twice)\", cost) if fault else", "return", "backends/test_litellm_judge.py"),
    Mutant("a re-ask is free", "backends/litellm_judge.py", "first.cost_usd + (second.cost_usd or 0.0)", "second.cost_usd or 0.0", "backends/test_litellm_judge.py"),
    Mutant("one more in flight than set", "backends/calls.py", "range(min(workers, len(requests)))", "range(min(workers + 1, len(requests)))", "backends/test_litellm_judge.py"),
    Mutant("retries do not keep to the pace", "backends/litellm_judge.py", "        self.router.set_custom_routing_strategy(self)\n", "", "backends/test_litellm_judge.py"),
    Mutant("an unknown price is zero", "backends/litellm_judge.py", "        return Price(known[\"input_cost_per_token\"], known[\"output_cost_per_token\"])\n    except Exception:  # litellm says by several kinds of error that it does not know a model\n        return None", "        return Price(known[\"input_cost_per_token\"], known[\"output_cost_per_token\"])\n    except Exception:  # litellm says by several kinds of error that it does not know a model\n        return FREE", "backends/test_litellm_judge.py"),
    Mutant("the price is asked of the Router", "backends/litellm_judge.py", "@cache  # and asked before a Router is made: to the Router a model without a price costs 0\n", "", "backends/test_litellm_judge.py"),
    Mutant("the key is in the error", "backends/calls.py", "            text = text.replace(value, f\"({name})\")\n", "            pass\n", "backends/test_litellm_judge.py test_judge_commands.py"),
    Mutant("the provider's words about the key are shown", "backends/litellm_judge.py", "if kind == \"AuthenticationError\":", "if False:", "backends/test_litellm_judge.py"),
    Mutant("calls go on after the first that can only fail", "backends/calls.py", "            todo.close()", "            pass", "backends/test_litellm_judge.py"),
    Mutant("connections of a closed event loop are found again", "backends/calls.py", "        litellm().in_memory_llm_clients_cache.flush_cache()\n", "", "backends/test_litellm_judge.py"),
    Mutant("the worst case of a call forgets the re-ask", "backends/litellm_judge.py", ".of(2 * prompt + answer, 2 * answer)", ".of(0.1 * prompt, 0.1 * answer)", "backends/test_litellm_judge.py"),
    Mutant("a budget forgets what was paid before", "wiring.py", "spent=lambda: memory.paid(JUDGE_ACCOUNT),", "", "test_judge_commands.py"),
    Mutant("a budget does not wait for calls in flight", "backends/limits.py", "                if not self.in_flight:\n", "                if True:\n", "backends/test_limits.py"),
    Mutant("what is held is not counted", "backends/limits.py", "self.spent + self.held + worst > self.limit", "self.spent + worst > self.limit", "backends/test_limits.py"),
    Mutant("idle time is saved up", "backends/limits.py", "turn = max(now, self.free)", "turn = self.free or now", "backends/test_limits.py"),
    Mutant("a failed table is not completed on request", "workbench.py", "    return failed(made, node.settings)\n", "    return False\n", "test_judge_commands.py"),
    Mutant("tables with failures are made again each time", "workbench.py", "again = _has_failures if retry_failed else pipeline.never", "again = _has_failures", "test_judge_commands.py"),
    Mutant("an estimate counts what is remembered", "wiring.py", "for name, request in named.items() if name not in known]\n    return litellm", "for name, request in named.items()]\n    return litellm", "test_judge_commands.py"),
    Mutant("reliability asks in the same order", "workbench.py", "\"seed\": node.settings.seed + 1", "\"seed\": node.settings.seed + 0", "test_judge_commands.py"),
    Mutant("a candidate scored once counts in the agreement", "report/reliability.py", "if a is not None and b is not None]", "if b is not None for a in (a or 0.0,)]", "report/test_reliability.py"),
    Mutant("crossing the threshold is looked at from one side", "report/reliability.py", "(a >= threshold) != (b >= threshold)", "(a >= threshold) > (b >= threshold)", "report/test_reliability.py"),
    Mutant("only the first address of a name is checked", "backends/public_http.py", "[a for a in addresses if not is_public(a)]", "[a for a in addresses[:1] if not is_public(a)]", "backends/test_public_http.py"),
    Mutant("a name is looked up again to connect", "backends/public_http.py", "self._sockets.connect_tcp(address, port,", "self._sockets.connect_tcp(host, port,", "backends/test_public_http.py"),
    Mutant("the user's own origin may lead to any private address", "backends/public_http.py", "if origin(url) == self._own else", "if self._own else", "backends/test_public_http.py"),
    Mutant("the port of the user's own origin does not count", "backends/public_http.py", "url.port or _PORTS.get(url.scheme, 0)", "0", "backends/test_public_http.py"),
    Mutant("an IPv4 address inside 6to4 is not looked at", "backends/public_http.py", "ip.ipv4_mapped or ip.sixtofour", "ip.ipv4_mapped", "backends/test_public_http.py"),
    Mutant("a key follows a redirect to another origin", "backends/public_http.py", "headers = secrets if origin(target) == origin(first) else {}", "headers = secrets", "backends/test_public_http.py"),
    Mutant("https gives way to http", "backends/public_http.py", 'if (target.scheme, found.scheme) == ("https", "http"):', "if False:", "backends/test_public_http.py"),
    Mutant("a packed answer is unpacked whole", "backends/public_http.py", "unpacker.decompress(packed, MAX_BYTES + 1)", "unpacker.decompress(packed)", "backends/test_public_http.py"),
    Mutant("each redirect has a clock of its own", "backends/public_http.py", "            headers = secrets if", "            self._ends = time.monotonic() + self._timeout_s\n            headers = secrets if", "backends/test_public_http.py"),
    Mutant("Retry-After is passed over", "backends/live.py", "Busy(reason, _retry_after(answer.headers.get(\"retry-after\")))", "Busy(reason, None)", "backends/test_live_tools.py"),
    Mutant("a key that a server sends back is shown", "backends/live.py", 'text = text.replace(spelling, f"({self._api.key.variable})")', "pass", "backends/test_live_tools.py"),
    Mutant("nothing found while engines were down is remembered", "backends/live.py", "if not said.results and said.unresponsive_engines:", "if False:", "backends/test_live_tools.py"),
    Mutant("an answer without a total is an empty one", "backends/live.py", "    total: int\n", "    total: int = 0\n", "backends/test_live_tools.py"),
    Mutant("requests to one host keep no distance", "backends/live.py", "            self._free_at = time.monotonic() + pause_s\n", "", "backends/test_live_tools.py"),
    Mutant("Retry-After holds for the call that heard it only", "backends/live.py", "                self._turn.rest(busy.after_s or 0.0)\n", "", "backends/test_live_tools.py"),
    Mutant("trouble of the wiki is remembered as an answer", "backends/live.py", "if any(word in error.code for word in _WIKI_REFUSES):", "if error.code:", "backends/test_live_tools.py"),
    Mutant("an engine that turns us away is no result", "backends/live.py", 'raise ToolFailed(f"search: no engine gave a result ({str(fault)[:200]})") from None', "return _NO_RESULT", "backends/test_live_tools.py"),
    Mutant("an MCP server is given the whole environment", "backends/mcp_tools.py", "args=words, env=self._env)", "args=words, env=dict(os.environ))", "backends/test_mcp_tools.py"),
    Mutant("an error of an MCP tool counts as a result", "backends/mcp_tools.py", "ok=not result.is_error", "ok=True", "backends/test_mcp_tools.py"),
    Mutant("a stuck MCP server is asked again", "backends/mcp_tools.py", "            except OutOfTime:\n                self._give_up(session)\n", "            except OutOfTime:\n", "backends/test_mcp_tools.py"),
    Mutant("calls at once open a server each", "backends/mcp_tools.py", "        with self._lock:\n            session = self._session = self._session or", "        with suppress():\n            session = self._session = self._session or", "backends/test_mcp_tools.py"),
    Mutant("a session that was given up is never ended", "backends/mcp_tools.py", "            if unused:\n", "            if False:\n", "backends/test_mcp_tools.py"),
    Mutant("a missing argument of an MCP tool is seen at the first call only", "backends/mcp_tools.py", 'get("required", [])', 'get("", [])', "backends/test_mcp_tools.py"),
    Mutant("the filter of system calls is not put on", "tools/python_zygote.py", "    if system_calls and not wrong:\n", "    if False:\n", "tools/test_escapes.py"),
    Mutant("a pipe may signal the zygote", "tools/sandbox.py", "(*range(8), 1030)", "(*range(9), 1030)", "tools/test_escapes.py"),
    Mutant("the sandbox shares our network", "tools/sandbox.py", "--unshare-all --unshare-user", "--unshare-all --share-net --unshare-user", "tools/test_escapes.py"),
    Mutant("the sandbox inherits our environment", "tools/sandbox.py", "--cap-add CAP_SYS_ADMIN --clearenv", "--cap-add CAP_SYS_ADMIN", "tools/test_escapes.py"),
    Mutant("the root of the sandbox can be written", "tools/sandbox.py", "--remount-ro / --chdir", "--chdir", "tools/test_escapes.py"),
    Mutant("all packages are seen", "tools/sandbox.py", 'return path.name in PACKAGES or path.suffix == ".libs"', "return True", "tools/test_escapes.py"),
    Mutant("scratch folders pile up under one another", "tools/python_zygote.py", '        if libc.umount2(b"/tmp", _DETACH):\n', "        if False:\n", "tools/test_escapes.py"),
    Mutant("a busy machine makes an observation", "tools/python_zygote.py", '    if stopped == "busy":\n', '    if stopped == "never":\n', "tools/test_python_repl.py"),
    Mutant("memory is not limited", "tools/python_zygote.py", "(resource.RLIMIT_AS, limits.memory_mb * 2**20)", "(resource.RLIMIT_AS, -1)", "tools/test_python_repl.py"),
    Mutant("without bubblewrap code runs unprotected", "tools/python_repl.py", "        self._sandbox = sandbox\n", '        self._sandbox = sandbox if shutil.which("bwrap") else "none"\n', "tools/test_python_repl.py"),
    Mutant("earlier calls decide what is loaded", "tools/python_repl.py", "bool(_NAMES_PACKAGES.search(code))", "bool(_NAMES_PACKAGES.search(code)) or True in self._zygotes", "tools/test_python_repl.py"),
    Mutant("knobs of a tool enter the keys", "settings.py", "return dumped | {k: v.identity() for k, v in self if isinstance(v, Settings) and k in dumped}", "return dumped", "test_toolports.py"),
    Mutant("another back end is answered from the first one's memory", "toolports.py", "digest([\"tool\", name, known, ", "digest([\"tool\", name, ", "test_toolports.py"),
    Mutant("a call that came to nothing is remembered", "toolports.py", "        return Reply(None, one_line(str(fault)), 0.0)\n    return Reply({\"text\": observation", "        return Reply({\"text\": str(fault), \"ok\": False}, None, 0.0)\n    return Reply({\"text\": observation", "test_toolports.py"),
    Mutant("what was never recorded is replayed as no result", "toolports.py", "        return Reply(None, f\"no recording of", "        return Reply({\"text\": \"no result\", \"ok\": False}, f\"no recording of", "test_toolports.py"),
    Mutant("recordings do not decide what is replayed", "toolports.py", "return Recordings(memory).identity(name) if memory else \"\"", "return \"\"", "test_toolports.py"),
    Mutant("one more call of a service in flight than set", "toolports.py", "with ThreadPoolExecutor(n) as pool", "with ThreadPoolExecutor(n + 1) as pool", "test_toolports.py"),
    Mutant("the first recording of a query counts", "toolports.py", "    recordings.keep(_answered(requests, replies, backend))\n", "    known = recordings.recall(requests[0][\"tool_name\"], (r[\"query\"] for r in requests))\n    recordings.keep(r for r in _answered(requests, replies, backend) if r.query not in known)\n", "test_toolports.py"),
    Mutant("an import overwrites without a word", "recordings.py", "        if other and not replace:", "        if False:", "test_recordings.py"),
    Mutant("an index that is half built is there", "corpora.py", "        with store.whole(place) as temporary:\n            build(documents(path), temporary)", "        cache.mkdir(parents=True, exist_ok=True)\n        build(documents(path), place)", "test_corpora.py"),
    Mutant("a corpus is known by its name", "corpora.py", "    return digest_path(path)\n", "    return digest([path.name])\n", "test_corpora.py"),
    Mutant("a title spelt out gains nothing", "tools/retrieval.py", "TITLE_GAIN = 0.4", "TITLE_GAIN = 0.0", "tools/test_retrieval.py"),
    Mutant("of a long text the beginning is shown", "tools/retrieval.py", "            best, most = start, there", "            best, most = 0, there", "tools/test_retrieval.py"),
    Mutant("an unseen character passes", "episode.py", "_UNSEEN.sub(\"\", _CONTROL.sub(\" \", text))", "_CONTROL.sub(\" \", text)", "test_forgery.py"),
    Mutant("an observation can spell a special token", "chat.py", "add_special_tokens=False, split_special_tokens=True", "add_special_tokens=False", "test_forgery.py"),
    Mutant("an observation is shown with its line breaks", "episode.py", "{OBSERVATION} {flat(step.observation)}", "{OBSERVATION} {step.observation}", "test_forgery.py"),
    Mutant("a token that reaches into the stop string stays", "backends/completions.py", "    kept = len(sampled) - 1\n", "    return len(sampled)\n    kept = len(sampled) - 1\n", "backends/test_engines.py"),
    Mutant("the end of a turn is shown", "backends/completions.py", "said = sampled[:-1] if sampled and sampled[-1] in ends else sampled", "said = sampled", "backends/test_engines.py"),
    Mutant("a prompt that does not fit is asked", "backends/completions.py", "if len(ids) + new > context:", "if False:", "backends/test_engines.py"),
    Mutant("an adapter stays on the model", "backends/transformers_engine.py", "self.model, self._laid = self.model.unload(), None", "self._laid = None", "backends/test_transformers_engine.py"),
    Mutant("a moving revision of a data set is taken without a word", "backends/hub.py", "if hub.folder is None and hub.revision is None:", "if False:", "backends/test_hub.py"),
    Mutant("a data set is known by its name", "backends/hub.py", "    return digest([hub.split, [[str(path.relative_to(hub.folder)), digest_path(path)] for path in files]])", "    return digest([hub.split, str(hub.folder)])", "backends/test_hub.py"),
    Mutant("an adapter is asked what it was trained on", "adapters.py", "    if seen:\n", "    if False:\n", "stages/test_eval.py"),
    Mutant("the correction of entropy is subtracted", "report/entropy.py", "plug_in_bits(counts) + np.maximum(seen", "plug_in_bits(counts) - np.maximum(seen", "report/test_entropy.py"),
    Mutant("the interval of entropy is that of the biased estimate", "report/entropy.py", "return drawn + (value - drawn.mean())", "return drawn", "report/test_entropy.py"),
    Mutant("the difference of entropies is of plug-in ones", "report/entropy.py", "miller_madow_bits(two.sum(0)) - miller_madow_bits(one.sum(0))", "plug_in_bits(two.sum(0)) - plug_in_bits(one.sum(0))", "report/test_entropy.py"),
    Mutant("two policies' resamples are not paired", "report/entropy.py", "miller_madow_bits(totals[:, one.shape[1] :]) -", "miller_madow_bits(totals[::-1, one.shape[1] :]) -", "report/test_comparison.py"),
    Mutant("a question's entropy is not corrected", "report/diversity.py", "m * chao_shen_bits(first)", "m * plug_in_bits(first)", "report/test_diversity.py"),
    Mutant("a sample makes a pair with itself", "report/diversity.py", "((shares**2).sum(-1) - squares)", "(shares**2).sum(-1)", "report/test_diversity.py"),
    Mutant("later choices count as first ones", "report/diversity.py", "[tools[:1] for tools in", "[tools for tools in", "report/test_diversity.py"),
    Mutant("cot is a call", "report/diversity.py", "sum(tool != COT for tool in tools)", "len(tools)", "report/test_diversity.py"),
    Mutant("samples of a question count as independent", "report/statistics.py", "max(p * (1 - p) / max(variance, 1e-12), questions)", "answers", "report/test_statistics.py"),
    Mutant("samples are resampled, not questions", "report/diversity.py", "name: None if top is None else ratio(np.bincount(row, top), np.bincount(row, bottom))", "name: None if top is None else ratio(np.array(top), np.array(bottom))", "report/test_diversity.py"),
    Mutant("pass@k draws a sample twice", "report/passing.py", "1 - comb(samples - right, k) / comb(samples, k)", "1 - (1 - right / samples) ** k", "report/test_passing.py"),
    Mutant("a missing answer votes", "report/passing.py", "Counter(answer for answer in given if answer is not None)", "Counter(given)", "report/test_passing.py"),
    Mutant("the vote goes by the order of rows", "report/passing.py", 'answers.sort_by("sample_id")', "answers", "report/test_passing.py"),
    Mutant("what was sampled in earlier turns costs nothing", "stages/eval.py", "run.tokens += len", "run.tokens = len", "stages/test_eval.py"),
    Mutant("a question is its own worked example", "shots.py", "if shot.content != asked]", "if shot]", "test_shots.py"),
    Mutant("padding hides that an example is the question", "rollouts.py", 'sorted(o for o in question["options"] if o.strip() != PADDING)', 'sorted(question["options"])', "test_shots.py"),
    Mutant("examples of any category are told", "shots.py", "shots.get(question[\"category\"], ())", "sum(shots.values(), [])", "test_shots.py"),
    Mutant("fewer examples than asked for are told", "shots.py", "if len(others) < k:", "if not others:", "test_shots.py"),
    Mutant("a worked example is followed by an observation", "episode.py", "chat += _told(shot)[:-1]", "chat += _told(shot)", "test_shots.py stages/test_eval.py"),
    Mutant("letters of an example move away from its reasoning", "shots.py", "kept if options[: len(kept)] == kept else options", "kept", "test_shots.py"),
    Mutant("the reasoning of an example can forge a turn", "shots.py", "thought = flat(_LEAD_IN.sub(\"\", question[\"cot_content\"]))", "thought = _LEAD_IN.sub(\"\", question[\"cot_content\"])", "test_shots.py"),
    Mutant("sampled tokens cost what prompts do", "stages/eval.py", "+ run.tokens * sampled) / 1e6", "+ run.tokens * of_prompts) / 1e6", "stages/test_eval.py"),
    Mutant("a cost that is not known is 0", "stages/eval.py", "        return None\n    of_prompts", "        return 0.0\n    of_prompts", "stages/test_eval.py"),
    Mutant("a lead-in is cut out of the middle of the reasoning", "shots.py", 'r"\\A\\s*(A:', 'r"\\s*(A:', "test_shots.py"),
    Mutant("an answer never given named no option", "report/summary.py", "_unread(row) and read_answer(", "_unread(row) or read_answer(", "report/test_summary.py"),
    Mutant("the data set of the examples does not enter the key", "pipeline.py", "        known |= of_examples\n", "", "test_side_by_side.py"),
    Mutant("a folder to evaluate is trained", "pipeline.py", "if name != BASE and folder is None]", "if name != BASE]", "test_side_by_side.py"),
    Mutant("a folder is evaluated without its adapter", "pipeline.py", '        files["adapter"] = folder\n', "        pass\n", "test_side_by_side.py"),
    Mutant("two folders of one name are one policy", "adapters.py", "name if taken[name] == 1 else", "name if taken else", "test_adapters.py"),
    Mutant("the macro average is as sure as if all were one category", "report/statistics.py", "n = len(parts) ** 2 / sum(1 / effective_n(right, asked) for right, asked in parts)", "n = sum(effective_n(right, asked) for right, asked in parts)", "report/test_statistics.py"),
    Mutant("the use of tools is counted from 0 at a later step", "workbench.py", "dict.fromkeys((*node.stage.reads, *node.reads))", "node.stage.reads", "test_cli.py"),
    Mutant("vLLM has no room for an adapter from elsewhere", "pipeline.py", "max([*laid, *(node", "max([*(node", "test_side_by_side.py"),
    Mutant("the share of an action goes with another's count", "report/panels.py", "counts.sum(0), strict=False)", "counts.sum(0)[::-1], strict=False)", "report/test_panels.py"),
    Mutant("the macro average weighs by questions", "report/summary.py", "accuracy_macro=macro_average(list(counted.values()))", "accuracy_macro=_share(right_and_asked(questions, correct))", "report/test_summary.py"),
    Mutant("who chose nothing has 0 bits", "report/entropy.py", "    if not (one.sum() and two.sum()):\n        return None\n", "", "report/test_comparison.py"),
    Mutant("where nothing flipped the interval has no width", "report/statistics.py", "(float((change**2).sum()) + 2) / n - middle**2", "float((change**2).sum()) / n - middle**2", "report/test_statistics.py"),
    Mutant("questions are paired by their ids alone", "report/comparison.py", "if None not in asked and asked[0] != asked[1]:", "if False:", "report/test_comparison.py"),
    Mutant("reward curve: that of the data, not of the policy", "objective/compose.py", "losses.importance(logprobs.detach(), batch.start, batch.mask)", "torch.ones_like(advantage)", "objective/test_trainer.py"),
    Mutant("reward curve: a mean of the passes' means", "objective/compose.py", "losses.importance(logprobs.detach(), batch.start, batch.mask)", "torch.nn.functional.normalize(losses.importance(logprobs.detach(), batch.start, batch.mask), p=1, dim=0)", "objective/test_trainer.py"),
    Mutant("reward curve: an action weighs as its average token", "objective/losses.py", "return ((logprobs - old) * mask).sum(1).clamp", "return per_action(logprobs - old, mask).clamp", "objective/test_trainer.py"),
    Mutant("reward curve: it is not normalised", "objective/trainer.py", 'sums["weighed_reward"] / sums["weight"]', 'sums["weighed_reward"]', "objective/test_trainer.py"),
    Mutant("reward curve: advantages are called rewards", "stages/train.py", "e.advantage, e.reward) for e", "e.advantage, e.advantage) for e", "stages/test_train.py"),
    Mutant("reward curve: it is not drawn", "report/panels.py", '    "reward": "mean reward, weighted",\n', "", "report/test_panels.py"),
    Mutant("the page: Esc empties the filter", "report/page.js", "    event.preventDefault(); // Chromium would empty a search field\n", "", "report/test_browser.py"),
    Mutant("the page: typed letters move the list", "report/page.js", '  if (event.target.closest("input, select, textarea, [contenteditable]")) return;\n', "", "report/test_browser.py"),
    Mutant("the page: chords move the list", "report/page.js", "if (!browser || modified(event) ||", "if (!browser ||", "report/test_browser.py"),
    Mutant("the page: of several runs the first alone has keys", "report/page.js", "latest ?? browsers[0]", "browsers[0]", "report/test_browser.py"),
    Mutant("the page: closed tables are not printed", "report/page.css", "  .figures::details-content { content-visibility: visible; }\n", "", "report/test_browser.py"),
    Mutant("the page: a script opens no table for printing", "report/page.js", 'opened.push(...document.querySelectorAll("details.figures:not([open])"))', "opened.push()", "report/test_browser.py"),
    Mutant("the page: what was opened for printing stays open", "report/page.js", "  for (const details of opened) details.open = false;\n", "", "report/test_browser.py"),
    Mutant("the page: tables are wider than the paper", "report/page.css", "td, th { white-space: normal;", "td, th {", "report/test_browser.py"),
    Mutant("the page: the list of rollouts is printed", "report/page.css", ".filters, [role=listbox] { display: none; }", ".filters { display: none; }", "report/test_browser.py"),
    Mutant("the page: words against the base wrap in one run only", "report/page.css", "[data-panel=headline] td", "#headline td", "report/test_browser.py"),
    Mutant("the page: digests are cut in the files too", "report/panels.py", "{' '.join(found)}", "{' '.join(d[:12] for d in found)}", "report/test_panels.py"),
    Mutant("the page: the verdict goes by the alphabet", "report/material.py", "logged.index(node) if (node := f\"eval.{name}\") in logged else -1, name", "name, name", "report/test_panels.py"),
    Mutant("an adapter of another model is opened", "wiring.py", "            adapter_files.check(adapter, settings.policy)\n", "            pass\n", "backends/test_adapter_files.py"),
    Mutant("an adapter may lack weights", "backends/adapter_files.py", "wanted.keys() - found.keys()", "set()", "backends/test_adapter_files.py"),
    Mutant("an adapter's pickle may run code", "backends/adapter_files.py", "weights_only=True", "weights_only=False", "backends/test_adapter_files.py"),
    Mutant("a cloud's own neighbours count as public", "backends/public_http.py", "if any(ip.version == near.version and ip in near for near in _NEIGHBOURS):", "if False:", "backends/test_public_http.py"),
    Mutant("an ISATAP form of a private address counts as public", "backends/public_http.py", "in _NAT64 or _is_isatap(ip))", "in _NAT64)", "backends/test_public_http.py"),
    Mutant("search without an address may ask private ones", "backends/live.py", "answer = self._http.get(engine.search_url, asked, {})", "answer = PublicHttp(own=engine.search_url, timeout_s=1, user_agent='x').get(engine.search_url, asked, {})", "backends/test_live_tools.py"),
    Mutant("code of a model runs if the environment says so", "cli.py", "    trust.say(trust_remote_code)\n", "    trust.say(True) if trust_remote_code else None\n", "test_remote_code.py"),
    Mutant("a model's code may be asked for on the terminal", "backends/models.py", "AutoConfig.from_pretrained(source, trust_remote_code=trust.said())", "AutoConfig.from_pretrained(source)", "test_remote_code.py"),
    Mutant("standard input is left to whoever reads it", "cli.py", "        os.dup2(nothing.fileno(), 0)\n", "        pass\n", "test_remote_code.py"),
    Mutant("a variant's name may lead out of the data folder", "pipeline.py", '            names.checked(variant, "train.variant")\n', "", "test_names.py"),
    Mutant("a name may be longer than a file system takes", "names.py", " or len(name.encode()) > LONGEST", "", "test_names.py"),
    Mutant("escape sequences reach the terminal in tables", "report/terminal.py", "yield Segment(text if control else plain(text), style, control)", "yield Segment(text, style, control)", "test_plain.py"),
    Mutant("escape sequences reach the terminal in errors", "cli.py", "    say(f\"sparkctl: {' '.join(message.split())}\", sys.stderr)", "    print(f\"sparkctl: {' '.join(message.split())}\", file=sys.stderr)", "test_plain.py"),
    Mutant("marks that turn the direction reach the terminal", "plain.py", "\\u2028-\\u202e", "\\u2028", "test_plain.py"),
    Mutant("a title with escapes is measured before it is plain", "report/terminal.py", "super().render_str(plain(text), **how)", "super().render_str(text, **how)", "test_plain.py"),
    Mutant("escape sequences reach the terminal in a traceback", "cli.py", "        sys.excepthook = _crashed  # here, for typer sets its own\n", "", "test_plain.py"),
]  # fmt: skip


def caught(mutant: Mutant, folder: Path) -> bool:
    """Whether the tests fail on a copy of the source with the fault in it."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    path = source / "sparkctl" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file}: {mutant.old!r} occurs {text.count(mutant.old)} times; mend tests/mutants.py")
    path.write_text(text.replace(mutant.old, mutant.new))
    tests = [str(ROOT / "tests" / name) for name in mutant.tests.split()]
    # The copy comes first on the path, before the installed package.
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.what}: pytest did not run\n{done.stdout}{done.stderr}")
    return done.returncode == 1


def main() -> None:
    """Try every mutant whose text contains the words given; report those that live."""
    chosen = [m for m in MUTANTS if all(word in f"{m.what} {m.file}" for word in sys.argv[1:])]
    alive = []
    with tempfile.TemporaryDirectory() as folder:
        # Control: the same tests on a copy without any fault must pass, or "caught" would mean nothing.
        every = " ".join(sorted({name for m in chosen for name in m.tests.split()}))
        if caught(Mutant("none", "__init__.py", "__version__", "__version__", every), Path(folder)):
            raise SystemExit("the tests fail on a copy without any fault; mend that first")
    for mutant in chosen:
        with tempfile.TemporaryDirectory() as folder:
            dead = caught(mutant, Path(folder))
        print(f"{'caught' if dead else 'LIVES '}  {mutant.file}: {mutant.what}", flush=True)
        if not dead:
            alive.append(mutant)
    print(f"{len(chosen) - len(alive)} of {len(chosen)} planted faults were caught")
    raise SystemExit(bool(alive))


if __name__ == "__main__":
    main()
