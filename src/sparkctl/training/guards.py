"""What is worth a warning while training: figures that say that the policy is going astray."""

import math
from collections.abc import Mapping
from typing import Any


class Guards:
    """Looks at each update's figures; each kind of warning is given once."""

    def __init__(self, label: str, warn_kl: float, warn_collapse: float) -> None:
        self.label, self.warn_kl, self.warn_collapse = label, warn_kl, warn_collapse
        self.first_entropy: float | None = None
        self.first_states = 0
        self.warned: set[str] = set()

    def look(self, row: Mapping[str, Any], states: int) -> list[str]:
        """The new warnings that an update's row gives rise to, one line each; `states` that the update was over."""
        found = [self._collapse(row, states), self._drift(row)]
        return [text for text in found if text]

    def _collapse(self, row: Mapping[str, Any], states: int) -> str | None:
        bits = row.get("tool_entropy")
        if bits is None:
            return None
        if self.first_entropy is None:
            self.first_entropy, self.first_states = bits, states
        if 2 * states < self.first_states:
            return None  # the rest of an epoch: few states have few tools
        if bits >= self.warn_collapse * self.first_entropy:
            return None
        return self._once(
            "collapse",
            f"tool collapse: the policy's tool entropy fell to {bits:.2f} bits at update {row['update']}, from "
            f"{self.first_entropy:.2f}; raise train.rarity or train.kl, or lower train.lr",
        )

    def _drift(self, row: Mapping[str, Any]) -> str | None:
        drift = row.get("approx_kl")
        if drift is None or (math.isfinite(drift) and drift <= self.warn_kl):
            return None
        return self._once(
            "drift",
            f"KL blow-up: approx_kl is {drift:.2f} nats per token at update {row['update']}, over {self.warn_kl:g}; "
            f"lower train.lr or raise train.kl",
        )

    def _once(self, kind: str, text: str) -> str | None:
        if kind in self.warned:
            return None
        self.warned.add(kind)
        return f"{self.label}: warning: {text}"
