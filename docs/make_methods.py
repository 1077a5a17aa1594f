"""Writes docs/methods.md: the methods, from their docstrings (`make docs`)."""

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

There are N items, T posterior samples, C classes, D features, k picks, M targets or references, and P places of an
item. p<sub>t</sub> is the prediction of sample t, and p̄ is the mean prediction. φ are the inputs of the last
layer, L the labelled items, and S the chosen ones. Information is in nats. A larger score means that a label is
wanted more.

The column "needs" has the inputs of a method:

- A *prediction* is log-probabilities (N, T, C) of any T, also of 1.
- *Samples* are the predictions of T > 1 functions, the same functions for every item. `posterior.draw` gives them.
- *Features* are those of the network, or of any other representation.

Labels count only through the fit; no function here reads them. Two strategies, `rare_class` and `two_stage`, count
the labels of each class. The column "cost" leaves out the predictions, which usually cost more. They take T passes
over the pool, or fewer if no dropout comes before a layer.

## Where they look

The data are two noisy half moons. Only a strip in the middle is labelled (12 white squares and triangles). A
network with one hidden layer and dropout ½ was fitted to these labels. Light is a high score, and the 10 items with
the highest scores are orange.

![where each acquisition function looks](moons/scores.png)

`entropy` follows the whole border between the classes. `expected_entropy` is its part in the middle. There the
labels contradict each other, and more labels would not help. `bald` is the other part, where the samples disagree
because labels are missing. `epig` also measures how much the rest of the pool would gain, so its high scores reach
over the right moon. For two classes, `entropy`, `least_confidence` and `margin` rank alike. Methods for regression,
for maps and for a loss module are not drawn.

![the picks of each batch selection](moons/batches.png)

The `top` of BALD is one crowd, where one label has almost the information of ten. `power` spreads it, and
`batchbald` and `batch_epig` go to both sides. `k_center` takes the far ends, and `robust_k_center` avoids the ten
farthest items. `facility_location`, `typiclust` and `prob_cover` take the middle of the unlabelled regions. Crosses
are the pseudo-labelled items of `ceal`. A dark grey panel has no score. Distances and clusters are those of the
plane, but `facility_location` and `suggestive_annotation` use a Gaussian kernel in it. `badge` and `bait` use the
hidden layer.

The seed is the clearest of 24. In 21 of these seeds, items with an entropy above 0.6 nats lie both near a label
(within 0.25) and far from all (beyond 0.5). In 20 of the 21, the mean BALD of the far ones is larger.
"""

RACE = """`race=0.01` computes all samples for the contenders only. A few samples score every item, and an item
leaves when its score is below a cut. The cut is low: a score of one of the k best items found would fall below it
in few random subsets of its samples. The picks differ from those of all samples with a probability of 0.01 at
most. This holds on one condition: the best items vary no more than the ones found
([`baldur.strategies.racing`](../src/baldur/strategies/racing.py)). If a few samples make the score of one of the best
items and not of the others, it is missed far more often: in 8 to 30 % of simulated races that stated 5 %. With
`race=0` an item leaves only if no missing sample can bring it among the k best. This is exact. It saves samples for
`least_confidence`, `margin`, `entropy` and `expected_entropy`, and none for `bald`. The score of an
item that left is from the samples that it had by then.
A race saves samples, and so time where samples are expensive: for ensembles, and for dropout in every layer. It
saves little where the samples share a trunk and the rest are matrix products. Fewer than 1,000 items are not raced,
nor are items of which most would stay; `info["refused"]` of the picks says so.
"""

WARNINGS = """## Results of published comparisons

The numbers are labels until 90 % accuracy, medians over seeds. They come from the logs that the authors released
([BatchBALD](https://github.com/BlackHC/BatchBALD), [stochastic
batches](https://github.com/BlackHC/active_learning_redux)):

- **On redundant pools top-k BALD is worse than random.** MNIST with each image four times, k = 10, T = 100: 280 by
  the top of BALD, 150 at random, 110 by `power` (β = 1), 120 by `softrank` (β = 1).
- **β matters for `softmax`.** In the same setting: 140 with β = 1, which is close to random, and 80 with β = 8.
  `softrank` with β = 8 did not reach 90 % in most runs.
- **BADGE without dropout was as good as random** in that setting of few labels: 150 and 150.
- **BatchBALD makes batches almost as good as single labels.** MNIST, T = 100: 97 by BALD one at a time, 130 by its
  top ten, 100 by `batchbald` in tens.
- **T samples have log T nats of information.** With T = 10 three items used 2.16 of 2.30, so the rest of the batch
  was noise. Baldur reports this in `info` and draws the rest by `power`.
- **Training changes the curve as much as the method.** MNIST, BALD, k = 5, T = 100: 125 with at most 30 epochs, 100
  with at most 120 epochs and more patience.
- **On CIFAR-10 in batches of 100, random was better than BALD** (81.0 and 78.5 % at 10,000 labels; runs differ by
  two to three points).
- **Batch EPIG is not submodular.** Two labels can be informative about a target together and useless alone, so
  greedy search has no guarantee.

Several studies found no consistent gain over random once all methods have the same tuned training and augmentation
(Mittal et al. 2019, arXiv:1912.05361; Munjal et al. 2022, CVPR). Few labels and many labels need opposite
strategies (Hacohen et al. 2022). So compare with `random`, with the same training and the same seeds.
"""


@dataclass(frozen=True)
class Paper:
    """A reference from a docstring."""

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
        """The anchor of the reference in the page."""
        plain = (
            unicodedata.normalize("NFKD", self.cited.replace("et al.", "")).encode("ascii", "ignore").decode()
        )
        return re.sub(r"\W+", "-", plain.lower())


@dataclass(frozen=True)
class Method:
    """The parts of a docstring."""

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
    """Take a docstring apart: one sentence, the equation, the papers, and needs, cost and use.

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
    """Plain text as Markdown, with indices and powers, and without characters that end a table's cell.

    Args:
        text: Text of a docstring, with `p_t` for an index and `s^β` for a power.

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
        The parts of their docstrings.
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
        yield "| name | definition | paper | needs | cost | use |\n|---|---|---|---|---|---|"
        yield from (method.row() for module in modules for method in found.get(module, []))
        yield ""


def _definitions() -> dict[str, ast.stmt]:
    """The definitions in `baldur.strategies`, by name."""
    found: dict[str, ast.stmt] = {}
    for module in (items, batches):
        for node in ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = node
    return found


def _parts(name: str, definitions: dict[str, ast.stmt], seen: set[str]) -> Iterator[str]:
    """The functions that a strategy calls, such as `acquire.bald`, itself or through others of its module."""
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
    yield "| name | picks | made of | needs | options |\n|---|---|---|---|---|"
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
    lines += ["For the loop and for `--strategy`. Options are written as in `power_bald(beta=8)`.\n"]
    lines += [RACE]
    lines += [*_strategies(known), "", WARNINGS, "## References\n"]
    lines += [f'- <a id="{anchor}"></a>{references[anchor].text}.' for anchor in sorted(references)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
