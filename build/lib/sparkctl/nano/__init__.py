"""The embedded default: a made-up world, questions about it, a policy of under a million parameters, a rubric judge.

It is there so that every stage can be run, shown and tested on two cores with no key, no GPU and no download: the
policy is an ordinary Hugging Face folder and the judge is asked like any other judge, so nothing in the stages knows it.

What its numbers show: that the loop works, and which way a method moves accuracy and tool diversity.
What they do not show: anything about large models. The questions follow templates, the facts are invented, the
observations hold the value that is wanted, and the policy answers with an option's text because a model of this size
does not learn to match a text to its letter.
"""

from pathlib import Path

POLICY = Path(__file__).with_name("policy")
"""The Hugging Face folder of the policy, as `sparkctl.nano.build` writes it."""
