"""Writes docs/methods.md: the methods, as their docstrings tell of them (`make docs`)."""

import ast
import inspect
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

from baldur import acquire, select
from baldur.runs.names import STRATEGIES
from baldur.strategies import batches, items

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "methods.md"

# A heading and the modules below it; a public function of a module that is not here is an error.
SCORES = {
    "One prediction": ("uncertainty",),
    "Disagreement of samples": ("disagreement",),
    "Committees": ("committee",),
    "Aimed at predictions": ("prediction",),
    "Gradients": ("change",),
    "Regression": ("regression",),
    "Dense prediction": ("dense", "streaming"),
    "Scores that are there already": ("scores",),
    "Borders": ("borders",),
}
BATCHES = {
    "By chance, and the k best": ("ranking", "stochastic"),
    "Joint information": ("joint", "aimed"),
    "Coverage": ("coreset", "robust", "representatives", "discrimination"),
    "Gradients of the last layer": ("gradients", "fisher"),
    "Clusters and low budgets": ("clusters", "covering"),
    "Pseudo-labels": ("pseudo",),
}

INTRO = """# Methods

Written by `make docs` from the docstrings: change those, not this page.

N items, T posterior samples, C classes, D features, k picks, M targets or references, P places of an item.
p<sub>t</sub> is the prediction of sample t, p̄ their mean, φ the features that the last layer takes, L what is labelled
and S what is chosen. Information is in nats, and larger scores are wanted more.

What a method needs: a *prediction* is log-probabilities (N, T, C) of any T, also 1; *samples* are those of T > 1
functions, the same ones for every item, which is how `posterior.draw` gives them; *features* are the network's or those
of any other representation. Labels enter through the fit; no function here looks at them, and of the strategies only
`rare_class` and `two_stage`, which count them. The cost comes on top of the predictions, which are dearer as a rule:
T passes over the pool, or fewer where no dropout feeds a layer.

## Where they look

Two noisy half moons, labelled in a strip in the middle only (white squares and triangles). A network with one hidden
layer and dropout ½ was fitted to these 12 labels; light is a high score, and orange are the 10 items of the highest.

![where each acquisition function looks](moons/scores.png)

`entropy` follows the whole border between the classes. `expected_entropy` is the part in the middle, where the labels
contradict each other and more of them would settle little; `bald` is the rest, where the samples disagree for want of
labels. `epig` also asks how much of the pool would be told, and so its high ground reaches over the right moon.
For two classes, `entropy`, `least_confidence` and `margin` rank alike. What needs regression, maps or a loss module is
not drawn.

![what each batch selection picks](moons/batches.png)

The `top` of BALD is one crowd, where one label would tell most of what ten do; `power` thins it out, and `batchbald`
and `batch_epig` go to both sides. `k_center` takes the far ends, `robust_k_center` leaves the ten farthest items alone,
and `facility_location`, `typiclust` and `prob_cover` take the middle of what has no label. Crosses are what `ceal`
takes as known; a dark grey panel has no score. Distances and clusters are those of the plane (`facility_location` and
`suggestive_annotation`: of a Gaussian kernel in it), but `badge` and `bait` see the hidden layer.

The seed is the clearest of 24. In 21 of these, items of an entropy above 0.6 nats lie both near a label (within 0.25)
and far from all (beyond 0.5); in 20 of the 21 their mean BALD is larger where they are far.
"""

RACE = """`race=0.01` computes all samples for the contenders only: a few score every item, and an item leaves when it
scores below what any of the k best found would fall below in few random subsets of their samples. The picks are those
of all samples but for this probability, if the best items vary no more than the ones found
([`baldur.strategies.racing`](../src/baldur/strategies/racing.py)). `race=0` lets an item leave only when no
missing sample can bring it among the k best: exact, and a saving for `least_confidence`, `margin`, `entropy` and
`expected_entropy`, none for `bald`. The score of an item that left is that of the samples it had by then. A race saves
samples, and so time where these are dear: ensembles, dropout in every layer. Where they share a trunk and the rest is
products of matrices, it saves little.
"""

WARNINGS = """## What published comparisons say

Labels until 90 % accuracy, medians over seeds of the logs that the authors released
([BatchBALD](https://github.com/BlackHC/BatchBALD), [stochastic batches](https://github.com/BlackHC/active_learning_redux)):

- **Redundant pools turn top-k BALD into a loss.** MNIST with each image four times, k = 10, T = 100: 280 by the top
  of BALD, 150 at random, 110 by `power` (β = 1), 120 by `softrank` (β = 1).
- **β matters for `softmax`.** There, 140 with β = 1, which is close to random, and 80 with β = 8; `softrank` with β = 8
  did not get there in most runs.
- **BADGE on a pass without dropout was at the level of random** in that setting of few labels: 150 and 150.
- **BatchBALD buys back what batches cost.** MNIST, T = 100: 97 by BALD one at a time, 130 by its top ten, 100 by
  `batchbald` in tens.
- **T samples hold log T nats.** With T = 10 three items used 2.16 of 2.30: the rest of the batch was chosen by noise.
  Baldur says so in `info` and draws that rest by `power`.
- **Training moves the curve as much as the method.** MNIST, BALD, k = 5, T = 100: 125 with at most 30 epochs, 100 with
  at most 120 of them and more patience.
- **On CIFAR-10 in batches of 100, random beat BALD** (81.0 and 78.5 % at 10,000 labels; a run differs from the next by
  two to three points).
- **Batch EPIG is not submodular.** Two labels of which each says nothing about a target may say it all together; greedy
  search has no guarantee there.

Several studies found the gain over random inconsistent once training is tuned and augmented alike for all (Mittal et
al. 2019, arXiv:1912.05361; Munjal et al. 2022, CVPR), and opposite strategies right for few and for many labels
(Hacohen et al. 2022). So keep `random` among what is compared, with the same training and the same seeds.
"""


@dataclass(frozen=True)
class Paper:
    """A reference, as a docstring has it."""

    text: str

    @property
    def cited(self) -> str:
        """Names and year."""
        parts = re.split(r", and |, | and ", self.text)
        names = [re.sub(r"^(?:[A-Z]\.[ -]?)+", "", p) for p in takewhile(_begins_with_initial, parts)]
        who = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
        return f"{who} {re.findall(r'[12][0-9]{3}', self.text)[-1]}"

    @property
    def anchor(self) -> str:
        """Where the reference stands."""
        plain = (
            unicodedata.normalize("NFKD", self.cited.replace("et al.", "")).encode("ascii", "ignore").decode()
        )
        return re.sub(r"\W+", "-", plain.lower())


@dataclass(frozen=True)
class Method:
    """What a docstring says, in parts."""

    name: str
    source: Path
    summary: str
    formula: str
    papers: tuple[Paper, ...]
    needs: str
    cost: str
    use: str

    def row(self) -> str:
        """A line of a table."""
        what = typeset(self.summary) + (f"<br>{typeset(self.formula)}" if self.formula else "")
        papers = "<br>".join(f"[{paper.cited}](#{paper.anchor})" for paper in self.papers)
        cells = (
            _link(self.name, self.source),
            what,
            papers,
            self.needs,
            typeset(self.cost),
            typeset(self.use),
        )
        return f"| {' | '.join(cells)} |"


def read(name: str, thing: Callable[..., Any]) -> Method:
    """Take a docstring apart: one sentence, the equation, the papers, and what it needs and costs.

    Args:
        name: The function's name.
        thing: The function.

    Returns:
        The parts.

    Raises:
        ValueError: The docstring does not say "Needs: ... Cost: ... Use: ...".
    """
    text = re.split(r"^Args:$", inspect.getdoc(thing) or "", maxsplit=1, flags=re.MULTILINE)[0]
    summary, *rest = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    facts = [m for part in rest if (m := re.fullmatch(r"Needs: (.+?)\. Cost: (.+?)\. Use: (.+)\.", part))]
    if len(facts) != 1:
        raise ValueError(f'the docstring of {name} must say once "Needs: ... Cost: ... Use: ..."')
    papers = [part for part in rest if _begins_with_initial(part)]
    formula = [part for part in rest if part not in papers and not part.startswith("Needs:")][:1]
    return Method(
        name,
        Path(inspect.getfile(inspect.unwrap(thing))),
        summary,
        _first_sentence(formula[0]) if formula else "",
        tuple(Paper(text.rstrip(".")) for part in papers for text in re.split(r"; (?=[A-Z]\.)", part)),
        *facts[0].groups(),
    )


def _begins_with_initial(text: str) -> bool:
    return re.match(r"[A-Z]\.[ -]", text) is not None


def _first_sentence(text: str) -> str:
    return re.split(r"\.(?: |$)", text, maxsplit=1)[0]


def typeset(text: str) -> str:
    """Plain text as Markdown: indices and powers set low and high, and nothing that would end a table's cell.

    Args:
        text: A docstring's words, with `p_t` for an index and `s^β` for a power.

    Returns:
        Markdown.
    """
    parts = text.split("`")
    for i in range(0, len(parts), 2):  # the others are code
        plain = parts[i].replace("|", "∣").replace("<", "&lt;").replace(" - ", " − ").replace("*", r"\*")
        plain = re.sub(r"(?<![\w)-])-(?=[\dΣγ])", "−", plain)
        low = re.sub(r"_(\([^)]*\)|[0-9A-Za-zα-ωŷ]+)", r"<sub>\1</sub>", plain)
        low = re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", low)
        parts[i] = re.sub(r"\^(?:\(([^)]*)\)|(-?[0-9A-Za-zα-ω½]+))", r"<sup>\1\2</sup>", low)
    return "`".join(parts)


def _link(name: str, source: Path) -> str:
    return f"[`{name}`](../{source.resolve().relative_to(ROOT).as_posix()})"


def methods(package: ModuleType) -> dict[str, list[Method]]:
    """The public functions of a family by module, in the order in which they are written.

    Args:
        package: `baldur.acquire` or `baldur.select`.

    Returns:
        What their docstrings say.
    """
    things = sorted(
        ((name, getattr(package, name)) for name in package.__all__),
        key=lambda named: (named[1].__module__, inspect.getsourcelines(named[1])[1]),
    )
    found: dict[str, list[Method]] = {}
    for name, thing in things:
        found.setdefault(thing.__module__.rpartition(".")[2], []).append(read(name, thing))
    return found


def _tables(found: dict[str, list[Method]], groups: dict[str, tuple[str, ...]]) -> Iterator[str]:
    missing = set(found) - {module for modules in groups.values() for module in modules}
    if missing:
        raise ValueError(f"no heading of the page has the functions of {', '.join(sorted(missing))}")
    for title, modules in groups.items():
        yield f"### {title}\n"
        yield "| name | what it is | paper | needs | cost | use it |\n|---|---|---|---|---|---|"
        yield from (method.row() for module in modules for method in found.get(module, []))
        yield ""


def _definitions() -> dict[str, ast.stmt]:
    """What `baldur.strategies` defines, by name."""
    found: dict[str, ast.stmt] = {}
    for module in (items, batches):
        for node in ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = node
    return found


def _parts(name: str, definitions: dict[str, ast.stmt], seen: set[str]) -> Iterator[str]:
    """`acquire.bald`, `select.top`, ...: what a strategy calls, itself or through others of its module."""
    seen.add(name)
    for node in ast.walk(definitions[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("acquire", "select"):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in definitions and node.id not in seen:
            yield from _parts(node.id, definitions, seen)


def _options(node: ast.stmt) -> str:
    if not isinstance(node, ast.FunctionDef):
        return "`race=None`"  # those that `_by` makes
    names = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    pairs = zip(names, node.args.defaults, strict=True)
    return ", ".join(f"`{name.arg}={ast.unparse(default)}`" for name, default in pairs)


def _strategies(known: dict[str, Method]) -> Iterator[str]:
    definitions = _definitions()
    yield "| name | what it picks | made of | needs | options |\n|---|---|---|---|---|"
    for name, thing in STRATEGIES.items():
        parts = list(dict.fromkeys(_parts(name, definitions, set())))
        needs = dict.fromkeys(need for part in parts for need in known[part].needs.split(", "))
        wanted = [need for need in needs if need not in ("scores", "clusters", "nothing")]
        if "samples" in wanted and "prediction" in wanted:
            wanted.remove("prediction")
        summary = typeset((inspect.getdoc(thing) or "").split("\n")[0])
        made = ", ".join(f"`{part}`" for part in parts)
        needed = ", ".join(wanted) or "nothing"
        source = Path(inspect.getfile(inspect.unwrap(thing)))
        yield f"| {_link(name, source)} | {summary} | {made} | {needed} | {_options(definitions[name])} |"


def page() -> str:
    """The whole page.

    Returns:
        Markdown.
    """
    scores, batches = methods(acquire), methods(select)
    families = (("acquire", scores), ("select", batches))
    known = {f"{family}.{m.name}": m for family, found in families for row in found.values() for m in row}
    references: dict[str, Paper] = {}
    for paper in (paper for method in known.values() for paper in method.papers):
        references.setdefault(paper.anchor, paper)
    lines = [INTRO, "## How informative is one item? `baldur.acquire`\n", *_tables(scores, SCORES)]
    lines += ["## Which k items together? `baldur.select`\n", *_tables(batches, BATCHES)]
    lines += ["## By name: `baldur.strategies`\n"]
    lines += ["For the loop and `--strategy`; options are bound as in `power_bald(beta=8)`.\n"]
    lines += [RACE]
    lines += [*_strategies(known), "", WARNINGS, "## References\n"]
    lines += [f'- <a id="{anchor}"></a>{references[anchor].text}.' for anchor in sorted(references)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
