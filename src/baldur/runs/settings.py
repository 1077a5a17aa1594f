"""All settings of a run, as one typed value with sections. They are saved with the run as `settings.toml`.

Users write flat names: `--query-size` on the command line, `query_size=` in Python. Each part of a run gets only the
section that concerns it.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from baldur.core.sizes import bytes_of
from baldur.errors import InvalidSettings
from baldur.runs import meanings

if TYPE_CHECKING:  # settings are read without any data
    from baldur.data.by_name import ByName

FORMAT = 3
"""The format of a settings file: 1 has flat names, 2 sections, and 3 other defaults."""

_EARLY: Mapping[str, Any] = {
    "reading": 1,
    "scaling": "none",
    "reserve": 0.0,
    "recurrent_masks": "sequence",
}

ABSENT: Mapping[int, Mapping[str, Any]] = {1: _EARLY, 2: _EARLY}
"""For each format, the values of settings that a file leaves out, if they differ from the current defaults."""

COMMON: JsonDict = {"common": True}
"""Marks the options that most users need: `baldur run --help` shows these, and `--help-all` shows all."""

Count = Annotated[int, Field(ge=1)]


MOST_MINUTES = 10_000_000
"""Reservations are shorter than this, about 19 years."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Section):
    """The data to label."""

    data: str = Field(
        "digits",
        description="digits, mnist, fashion-mnist, cifar10, a folder, .npz/.npy, Parquet, CSV or JSONL",
    )
    data_dir: str | None = Field(
        None, description="folder with the official data files (default: $BALDUR_DATA)"
    )
    image_size: Annotated[int, Field(ge=8)] = Field(
        64,
        description="side in pixels of the squares to which photographs are resized; by default 32 without a GPU",
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of items for testing if the data have no test split"
    )
    encoder: str | None = Field(
        None,
        description="pretrained network: hf:NAME of transformers, FILE.pt2 or module:factory",
        json_schema_extra=COMMON,
    )
    label: str | None = Field(
        None, description="column of a table with the classes (default: label)", json_schema_extra=COMMON
    )
    text: str | None = Field(
        None,
        description="column of texts that are the inputs (default: the only one, if nothing else is an input)",
        json_schema_extra=COMMON,
    )
    inputs: list[str] | None = Field(
        None,
        description="column that is an input; may be repeated (default: all that can)",
        json_schema_extra=COMMON,
    )
    id: str | None = Field(None, description="column with the unique name of each row (default: id)")
    split: str | None = Field(None, description="column with train, test or val (default: split)")
    group: str | None = Field(
        None, description="column with groups, such as patients, that stay together (default: group)"
    )
    missing: list[str] | None = Field(
        None,
        description="a value that means a missing label; may be repeated (default: empty, nan, NaN, NA, null, None)",
    )
    task: Literal["auto", "classification"] = Field(
        "auto", description="auto refuses labels that look like amounts; classification takes any as classes"
    )
    scaling: Literal["standardise", "none"] = Field(
        "standardise", description="whether the numbers of vectors and tables are standardised, or none"
    )
    layout: Literal["classes", "splits"] | None = Field(
        None,
        description="subfolders of a folder of images: classes, or splits with class folders inside",
    )
    reading: Annotated[int, Field(ge=1, le=2)] = Field(
        2,
        description="rules of reading: 1 as in early versions, where a split ignores copies; a run keeps its own",
    )

    @field_validator("inputs", mode="before")
    @classmethod
    def _one_is_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or None

    def by_name(self) -> "ByName":
        """The columns that are named."""
        from baldur.data.by_name import by_name

        return by_name(self.label, self.text, self.inputs, self.id, self.split, self.group)

    @field_validator("missing", mode="before")
    @classmethod
    def _as_names(cls, value: Any) -> Any:
        if value is None:
            return None
        several = value if isinstance(value, list | tuple | set | frozenset) else [value]
        return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in several]


class CompareSettings(_Section):
    """The comparison: strategies, seeds, rounds, and the source of the answers."""

    strategies: list[str] = Field(
        ["random", "bald"],
        min_length=1,
        description="which items to ask for; repeat it to compare several",
        json_schema_extra=COMMON,
    )
    seeds: Annotated[int, Field(ge=1, lt=2**20)] = Field(
        5, description="repetitions of each strategy", json_schema_extra=COMMON
    )
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = Field(0, description="seed of the first repetition")
    rounds: Annotated[int, Field(ge=0)] = Field(
        20, description="rounds after the initial labels", json_schema_extra=COMMON
    )
    query_size: Count = Field(10, description="labels in each round", json_schema_extra=COMMON)
    initial: Count = Field(20, description="random labels at the start", json_schema_extra=COMMON)
    initial_balanced: bool = Field(False, description="draw the initial labels evenly from the classes")
    candidates: Annotated[int, Field(ge=0)] = Field(
        0, description="choose among this many random unlabelled items in each round; 0 means all"
    )
    until: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="end a trial at this test accuracy (for studies: it uses the test set)"
    )
    stop: list[str] = Field(
        [],
        description="stopping criterion: stabilising-predictions, budget(500), target(0.9), ...",
    )
    reserve: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.2,
        description="share of the pool that is kept for the test labels of --stop target or plateau; "
        "0: they use --validation items",
    )
    noise: str | None = Field(
        None,
        description="wrong answers: a share such as 0.2, or for CIFAR-10 people:worst or people",
    )
    annotators: Count = Field(
        1, description="simulated annotators for each item; the majority decides the label"
    )
    oracle: Literal["simulated", "file", "people"] = Field(
        "simulated",
        description="source of the answers: simulated, or file for a person (people: set by baldur.open)",
    )
    targets: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.9, 0.95], description="accuracies for which the report counts the labels; may be repeated"
    )

    @field_validator("strategies", "stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("noise", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("strategies")
    @classmethod
    def _differ(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a strategy is named twice; name each only once")
        return value


class LearnSettings(_Section):
    """The model: network, posterior, learner, and how networks are trained."""

    learner: str = Field(
        "supervised",
        description="supervised, ceal, fixmatch, ...; auto, without other options of learning: extra-trees for "
        "tables, a linear committee for texts",
        json_schema_extra=COMMON,
    )
    network: str = Field(
        "auto",
        description="auto, mlp, cnn8, resnet18, ..., or module:factory",
        json_schema_extra=COMMON,
    )
    posterior: str = Field(
        "mc-dropout",
        description="mc-dropout, ensemble, swag, ...",
        json_schema_extra=COMMON,
    )
    members: Count = Field(5, description="number of networks in an ensemble")
    epochs: Count = Field(
        40,
        description="passes over the labelled items; by default 160 with augmentation, fixmatch, ...",
        json_schema_extra=COMMON,
    )
    epoch_size: Count = Field(256, description="minimum items in an epoch; fewer labelled items are repeated")
    batch_size: Count = Field(32, description="items in a training step")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="adam, adamw or sgd")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="step size of the optimiser")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum of sgd")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="L2 penalty")
    schedule: str | None = Field(None, description="schedule of the learning rate: cosine, linear or steps")
    loss: str | None = Field(
        None, description="generalised_cross_entropy or symmetric_cross_entropy, for noisy labels"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each label that is spread over all classes"
    )
    class_weights: bool = Field(False, description="weight the loss by inverse class frequency")
    augment: str | None = Field(
        None, description="augmentation: weak, strong, or module:function of (x, generator)"
    )
    validation: Annotated[int, Field(ge=0)] = Field(
        0, description="labelled items held out for early stopping"
    )
    validation_free: bool = Field(False, description="do not count the validation labels; the report says so")
    patience: Count = Field(5, description="epochs without improvement before stopping; needs --validation")
    recurrent_masks: Literal["step", "sequence"] = Field(
        "step",
        description="dropout between recurrent layers: step as it is trained, or sequence as in early versions",
    )
    warm_start: bool = Field(False, description="start each fit from the weights of the previous round")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of training: auto, float32 or bfloat16"
    )
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        10.0, description="minimum seconds between two checkpoints of a long fit"
    )


class ScoreSettings(_Section):
    """How the pool is scored."""

    draws: Count = Field(20, description="posterior samples for each item")
    memory: str = Field("1GiB", description="memory for scoring, in addition to the data")
    trunk_cache: str | None = Field(
        None, description="disk space for cached outputs of a frozen trunk, such as 4GiB"
    )
    score_batch: Count = Field(128, description="items scored at a time; use more on a GPU")
    score_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="float32 or bfloat16; auto is bfloat16 if the GPU supports it, else float32"
    )

    @field_validator("memory", "trunk_cache")
    @classmethod
    def _is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            bytes_of(value)
        return value


class EngineSettings(_Section):
    """The hardware and the processes of a run."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    jobs: Annotated[int, Field(ge=0)] = Field(
        0,
        description="trials side by side; 0 means automatic",
        json_schema_extra=COMMON,
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0,
        description="PyTorch threads in each process; 0 chooses: 1 for several jobs or a small network",
    )
    engine: Literal["local", "ray"] = Field("local", description="local, or ray for a cluster")
    address: str | None = Field(
        None, description="Ray cluster: host:port or auto; by default, one starts on this machine"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="workers of the Ray cluster; 0 means as many as the processors allow"
    )


class PeopleSettings(_Section):
    """Labelling by people."""

    retrain_after: Count = Field(10, description="new labels after which the model is trained again")
    test_labels: Annotated[int, Field(ge=0)] = Field(
        50, description="labels of random items that are kept for testing; 0 for none"
    )
    lease_minutes: Annotated[float, Field(gt=0, lt=MOST_MINUTES)] = Field(
        60.0, description="minutes for which an item is reserved for the person who was asked"
    )
    added: list[str] = Field([], description="places of data that were added later; see baldur add")


class Settings(_Section):
    """All settings of a run. The descriptions of the fields are the help texts of the command line."""

    data: DataSettings
    compare: CompareSettings
    learn: LearnSettings
    score: ScoreSettings
    engine: EngineSettings
    people: PeopleSettings = Field(default_factory=lambda: PeopleSettings.model_validate({}))

    def flat(self) -> dict[str, Any]:
        """All settings by their flat names.

        Returns:
            Values by name.
        """
        return {name: value for part in self.model_dump().values() for name, value in part.items()}

    def but(self, **values: Any) -> "Settings":
        """A copy of the settings with some values changed.

        Args:
            values: New values by flat name.

        Returns:
            The checked settings.

        Raises:
            InvalidSettings: A name is unknown, or a value is not valid.
        """
        return create(**self.flat() | values)


SECTIONS: Mapping[str, type[_Section]] = {
    "data": DataSettings,
    "compare": CompareSettings,
    "learn": LearnSettings,
    "score": ScoreSettings,
    "engine": EngineSettings,
    "people": PeopleSettings,
}

SECTION_OF: Mapping[str, str] = {
    name: section for section, kind in SECTIONS.items() for name in kind.model_fields
}
"""The section of each flat name."""

ALIASES: Mapping[str, str] = {"strategy": "strategies", "target": "targets"}
"""Other names of settings: `strategy=` in Python and `--strategy` on the command line mean `strategies`."""


def create(**values: Any) -> Settings:
    """Make settings from flat names. Settings that are not given have their defaults.

    Args:
        values: Values by flat name.

    Returns:
        The checked settings.

    Raises:
        InvalidSettings: A name is unknown, or a value is not valid.
    """
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in canonical_names(values).items():
        parts[SECTION_OF[name]][name] = value
    made: dict[str, _Section] = {}
    wrong: list[str] = []
    for section, kind in SECTIONS.items():
        try:
            made[section] = kind(**parts[section])
        except ValidationError as error:
            wrong += [_in_words(one) for one in error.errors()]
    if wrong:
        raise InvalidSettings("; ".join(wrong))
    return Settings.model_validate(made)


_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_TYPES |= {"string": "a text", "list": "a list", "literal": "one of the values"}

_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "greater than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "a list of at least one",
}


def _in_words(error: ErrorDetails) -> str:
    """An error of pydantic as a plain sentence."""
    name, kind, given, about = str(error["loc"][0]), error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return f"{name}: {about['error']}"
    shown = repr(given) if isinstance(given, str | int | float | list | tuple) else type(given).__name__
    if kind == "literal_error":
        choices = [str(choice).strip("' ") for choice in about["expected"].replace(" or ", ", ").split(",")]
        near = get_close_matches(str(given), choices, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{name} must be {about['expected']}, not {shown}{hint}"
    expected = _BOUNDS.get(kind, "").format(**about) or _TYPES.get(kind.partition("_")[0])
    return f"{name} must be {expected}, not {shown}" if expected else f"{name}: {error['msg']}, not {shown}"


def canonical_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace aliases of settings by the names of their fields.

    Args:
        values: Values by flat name or alias.

    Returns:
        Values by flat name.

    Raises:
        InvalidSettings: A name is unknown, or it is given together with its alias.
    """
    named = {}
    for given, value in values.items():
        name = ALIASES.get(given, given)
        if name not in SECTION_OF:
            near = get_close_matches(given, [*SECTION_OF, *ALIASES], 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; `baldur run --help-all` shows all options"
            raise InvalidSettings(f"there is no option {given!r}{hint}")
        if name in named:
            raise InvalidSettings(f"{name!r} is given twice, as {given!r} too; give only one of them")
        named[name] = value
    return named


def read(path: Path) -> dict[str, Any]:
    """Read a settings file. The values are not checked yet, so others may replace them.

    Args:
        path: A TOML file of any format.

    Returns:
        Values by flat name.

    Raises:
        InvalidSettings: There is no such file, or it is not TOML.
    """
    try:
        return flatten(path.read_text(), str(path))
    except OSError as error:
        raise InvalidSettings(f"cannot read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path} is not TOML: {error}") from None


def flatten(text: str, what: str = "the text of the settings") -> dict[str, Any]:
    """The values of a settings file of any format.

    Args:
        text: TOML, flat or in sections.
        what: The name of the text, used in error messages.

    Returns:
        Values by flat name. A setting that the text leaves out is included only if its value differs from the current
        default. Names have the meaning of that format.

    Raises:
        InvalidSettings: The text is not TOML, or a newer version of Baldur wrote it.
    """
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{what} is not TOML: {error}") from None
    written = told.pop("format", 1)
    if not isinstance(written, int) or written > FORMAT:
        raise InvalidSettings(
            f"{what} has format {written!r}, but this version of Baldur reads formats up to {FORMAT}; upgrade Baldur"
        )
    values: dict[str, Any] = dict(ABSENT.get(written, {}))
    for name, value in told.items():
        if name in SECTIONS and isinstance(value, dict):
            values |= value
        else:
            values[name] = value
    if written < 3:
        names = {name: values[name] for name in meanings.CHANGED if isinstance(values.get(name), str)}
        values |= {name: meanings.as_before(name, text) for name, text in names.items()}
    return values


def from_toml(text: str) -> Settings:
    """Make settings from the text of a settings file of any format.

    Args:
        text: TOML.

    Returns:
        The checked settings.

    Raises:
        InvalidSettings: The text is not TOML, a name is unknown, or a value is not valid.
    """
    return create(**flatten(text))


def to_toml(settings: Settings) -> str:
    """Write settings as TOML in sections. Reading the text back gives equal settings.

    Args:
        settings: The settings.

    Returns:
        The text of a settings file.
    """
    unused = set() if settings.compare.oracle == "people" else {"people"}
    return tomli_w.dumps({"format": FORMAT, **settings.model_dump(exclude_none=True, exclude=unused)})
