"use strict";
// The browser of single rollouts. What a model wrote is put in place as text nodes alone, never as HTML.

const element = (tag, text = "", className = "") => {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function cells(row, values, tag = "td") {
  for (const value of values) row.append(element(tag, value === null || value === undefined ? "–" : String(value)));
  return row;
}

function candidateTable(step) {
  const wrapped = element("div", "", "scroll");
  const table = wrapped.appendChild(element("table"));
  cells(table.createTHead().insertRow(), ["action", "score", "input", "the judge's reason"], "th");
  const body = table.createTBody();
  for (const candidate of step.candidates) {
    const taken = candidate.tool === step.taken;
    const row = cells(body.insertRow(), [
      candidate.tool + (taken ? " ← taken" : ""),
      candidate.score,
      candidate.error ? `failed: ${candidate.error}` : candidate.query,
      candidate.reason,
    ]);
    if (taken) row.className = "taken";
  }
  return wrapped;
}

function shownStep(step, number) {
  const parts = [element("h3", `Step ${number}`), element("p", `Thought: ${step.thought ?? "–"}`), candidateTable(step)];
  if (step.rule) parts.push(element("p", `Rule: ${step.rule}`));
  if (step.observation !== null) parts.push(element("p", `Observation${step.ok ? "" : " (the call failed)"}: ${step.observation}`));
  if (step.error) parts.push(element("p", `Error: ${step.error}`));
  return parts;
}

function shownRollout(rollout) {
  const options = element("ol");
  for (const option of rollout.options) options.append(element("li", option));
  const answer = `Answer: ${rollout.answer ?? "none"}; correct is ${rollout.correct ?? "not known"} (${rollout.outcome})`;
  return [
    element("h3", `${rollout.id} · ${rollout.category}`),
    element("p", rollout.question),
    options,
    element("p", answer, "answer"),
    ...rollout.steps.flatMap((step, i) => shownStep(step, i + 1)),
  ];
}

function everyWord(rollout) {
  const words = [rollout.id, rollout.question, ...rollout.options];
  for (const step of rollout.steps) {
    words.push(step.thought, step.observation);
    for (const candidate of step.candidates) words.push(candidate.query, candidate.reason);
  }
  return words.join("\n").toLowerCase();
}

function browse(section, rollouts) {
  const list = section.querySelector("[role=listbox]");
  const article = section.querySelector("article");
  const form = section.querySelector("form");
  const count = section.querySelector("output");
  let texts = null; // made when first searched: opening the page does not wait for it
  let visible = [];
  let current = null;

  const items = rollouts.map((rollout, i) => {
    const item = element("li");
    item.id = `${section.id}.${i}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    item.append(element("span", rollout.question, "said"), element("span", `${rollout.category} · ${rollout.outcome}`, "outcome"));
    return item;
  });
  const taken = rollouts.map((rollout) => new Set(rollout.steps.map((step) => step.taken)));

  function choose(i, scroll = true) {
    if (current !== null) items[current].setAttribute("aria-selected", "false");
    current = i;
    if (i === null) {
      list.removeAttribute("aria-activedescendant");
      article.replaceChildren(element("p", "No rollout passes the filters."));
      return;
    }
    items[i].setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", items[i].id);
    if (scroll) items[i].scrollIntoView({ block: "nearest" });
    article.replaceChildren(...shownRollout(rollouts[i]));
  }

  function filter() {
    const { category, outcome, tool, text } = form.elements;
    const wanted = text.value.trim().toLowerCase();
    if (wanted) texts ??= rollouts.map(everyWord);
    visible = [];
    rollouts.forEach((rollout, i) => {
      const passes =
        (!category.value || rollout.category === category.value) &&
        (!outcome.value || rollout.outcome === outcome.value) &&
        (!tool.value || taken[i].has(tool.value)) &&
        (!wanted || texts[i].includes(wanted));
      if (passes) visible.push(i);
    });
    list.replaceChildren(...visible.map((i) => items[i]));
    count.textContent = `${visible.length} of ${rollouts.length} rollouts`;
    if (!visible.includes(current)) choose(visible.length ? visible[0] : null, false);
  }

  function move(by) {
    if (!visible.length) return;
    const at = visible.indexOf(current) + by;
    choose(visible[Math.min(Math.max(at, 0), visible.length - 1)]);
  }

  function fill(name, values) {
    for (const value of [...new Set(values)].filter(Boolean).sort()) form.elements[name].append(new Option(value));
  }

  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  list.addEventListener("keydown", (event) => {
    if (modified(event) || !(event.key in moves)) return;
    move(moves[event.key]);
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const item = event.target.closest("[role=option]");
    if (item) choose(items.indexOf(item), false);
  });
  form.addEventListener("input", filter);
  form.addEventListener("change", filter); // all that a select fires where software drives it
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // Chromium would empty a search field
    list.focus();
  });

  fill("category", rollouts.map((rollout) => rollout.category));
  fill("outcome", rollouts.map((rollout) => rollout.outcome));
  fill("tool", taken.flatMap((names) => [...names]));
  filter();
  return {
    section,
    step: (by) => {
      list.focus(); // brings it into view
      move(by);
    },
    search: () => form.elements.text.focus(),
  };
}

const modified = (event) => event.ctrlKey || event.altKey || event.metaKey;
const browsers = []; // one per run
let latest = null; // the one that the reader used last

document.addEventListener("focusin", (event) => {
  latest = browsers.find((browser) => browser.section.contains(event.target)) ?? latest;
});
// j, k and / work wherever the reader is, except where they are text.
const everywhere = { j: (browser) => browser.step(1), k: (browser) => browser.step(-1), "/": (browser) => browser.search() };
document.addEventListener("keydown", (event) => {
  const browser = latest ?? browsers[0];
  if (!browser || modified(event) || !(event.key in everywhere)) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  everywhere[event.key](browser);
  event.preventDefault();
});

for (const section of document.querySelectorAll(".rollouts")) {
  unpacked(section.querySelector("script").textContent).then((rollouts) => {
    browsers.push(browse(section, rollouts));
    browsers.sort((a, b) => (a.section.compareDocumentPosition(b.section) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
    section.dataset.ready = "true";
  });
}

// On paper nothing can be opened: the tables behind the charts are, for as long as printing takes.
let opened = [];
addEventListener("beforeprint", () => {
  opened.push(...document.querySelectorAll("details.figures:not([open])"));
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
  opened = [];
});
