"""Everything that a run can be told, in one typed value of five sections; saved with the run as `settings.toml`.

Names are flat wherever a person writes them: `--query-size` on the command line, `query_size=` in Python. Each section
goes to the part of a run that it is about, and to no other.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.config import JsonDict

from baldur.core.sizes import bytes_of
from baldur.errors import InvalidSettings

FORMAT = 2
"""Of a settings file: 1 has flat names, 2 has sections."""

ABSENT: Mapping[int, Mapping[str, Any]] = {1: {}}
"""By format, the values that a file means by leaving a name out, where these are not the defaults of today."""

COMMON: JsonDict = {"common": True}
"""Marks the options that most people need; `baldur run --help` shows these, `--help-all` shows all."""

Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Section):
    """What there is to label."""

    data: str = Field(
        "digits",
        description="digits, mnist, fashion-mnist, cifar10, a folder, .npz/.npy, Parquet, CSV or JSONL",
    )
    data_dir: str | None = Field(
        None, description="folder of the official data files (default: $BALDUR_DATA)"
    )
    image_size: Annotated[int, Field(ge=8)] = Field(
        64, description="photographs are resized to squares of this many pixels"
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share held out for testing if the data have no test split"
    )
    encoder: str | None = Field(
        None,
        description="pretrained network: FILE.pt2 or module:factory",
        json_schema_extra=COMMON,
    )


class CompareSettings(_Section):
    """What is compared: strategies, seeds, rounds, and who answers."""

    strategies: list[str] = Field(
        ["random", "bald"],
        min_length=1,
        description="how to choose; may be given several times",
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
    initial: Count = Field(20, description="random labels at first", json_schema_extra=COMMON)
    initial_balanced: bool = Field(False, description="draw the initial labels evenly from the classes")
    candidates: Annotated[int, Field(ge=0)] = Field(
        0, description="choose among this many random unlabelled items in each round; 0 means all"
    )
    until: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="end a trial at this test accuracy (for studies: it looks at the test set)"
    )
    stop: list[str] = Field(
        [],
        description="stopping criteria: stabilising-predictions, budget(500), target(0.9), ...",
    )
    noise: str | None = Field(
        None,
        description="simulated annotators err: a share such as 0.2, or people:worst (CIFAR-10N), or people",
    )
    annotators: Count = Field(1, description="simulated annotators for each item; the majority is the label")
    oracle: Literal["simulated", "file"] = Field(
        "simulated", description="who answers: simulated, or a person through a file"
    )
    targets: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.9, 0.95], description="accuracies for which the report counts the labels needed"
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
            raise ValueError("a strategy is named twice")
        return value


class LearnSettings(_Section):
    """What learns: network, posterior, learner, and how networks are trained."""

    learner: str = Field(
        "supervised",
        description="supervised, ceal, fixmatch, ...",
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
    members: Count = Field(5, description="networks of an ensemble")
    epochs: Count = Field(40, description="passes over the labelled items", json_schema_extra=COMMON)
    epoch_size: Count = Field(
        256, description="least items in an epoch; fewer labelled items are repeated evenly"
    )
    batch_size: Count = Field(32, description="items in a training step")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="adam, adamw or sgd")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="step size of the optimiser")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum of sgd")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="L2 penalty")
    schedule: str | None = Field(None, description="schedule of the learning rate: cosine, linear or steps")
    loss: str | None = Field(
        None, description="instead of cross-entropy: generalised_cross_entropy or symmetric_cross_entropy"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each label that is spread over all classes"
    )
    class_weights: bool = Field(False, description="weight the loss by inverse class frequency")
    augment: str | None = Field(
        None, description="augmentation: weak, strong, or your own function (x, generator) -> x"
    )
    validation: Annotated[int, Field(ge=0)] = Field(
        0, description="labelled items held out for early stopping"
    )
    validation_free: bool = Field(False, description="do not count the validation labels; the report says so")
    patience: Count = Field(5, description="epochs without improvement before stopping; needs --validation")
    warm_start: bool = Field(False, description="start each fit from the weights of the round before")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="precision of training")
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        10.0, description="least seconds between two checkpoints of a long fit"
    )


class ScoreSettings(_Section):
    """How a pool is scored."""

    draws: Count = Field(20, description="posterior samples T")
    memory: str = Field("1GiB", description="memory for scoring, beyond the data")
    trunk_cache: str | None = Field(
        None, description="disk space to keep the outputs of a frozen trunk, such as 4GiB"
    )
    score_batch: Count = Field(128, description="items scored at a time; more suits a GPU")
    score_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of scoring; auto is bfloat16 on a GPU that has it, else float32"
    )

    @field_validator("memory", "trunk_cache")
    @classmethod
    def _is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            bytes_of(value)
        return value


class EngineSettings(_Section):
    """Where and how a run is computed."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    jobs: Annotated[int, Field(ge=0)] = Field(
        0,
        description="trials side by side; 0 chooses",
        json_schema_extra=COMMON,
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="threads of PyTorch in each process; 0 means 1 for several jobs, else PyTorch's number"
    )
    engine: Literal["local", "ray"] = Field("local", description="local, or ray for a cluster")
    address: str | None = Field(
        None, description="Ray cluster, host:port or auto; unset starts one on this machine"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="workers of the Ray cluster; 0 means as many as --threads leaves room for"
    )


class Settings(_Section):
    """Everything that a run can be told. Descriptions of fields are the help of the command line."""

    data: DataSettings
    compare: CompareSettings
    learn: LearnSettings
    score: ScoreSettings
    engine: EngineSettings

    def flat(self) -> dict[str, Any]:
        """All values by their flat names.

        Returns:
            Names of options and their values.
        """
        return {name: value for part in self.model_dump().values() for name, value in part.items()}

    def but(self, **values: Any) -> "Settings":
        """The same settings with other values.

        Args:
            values: By flat name.

        Returns:
            The settings, checked.

        Raises:
            InvalidSettings: A name is unknown or a value is out of its domain.
        """
        return create(**self.flat() | values)


SECTIONS: Mapping[str, type[_Section]] = {
    "data": DataSettings,
    "compare": CompareSettings,
    "learn": LearnSettings,
    "score": ScoreSettings,
    "engine": EngineSettings,
}

SECTION_OF: Mapping[str, str] = {
    name: section for section, kind in SECTIONS.items() for name in kind.model_fields
}
"""The section of each flat name."""

ALIASES: Mapping[str, str] = {"strategy": "strategies", "target": "targets"}
"""Other names of options: one strategy may be given as `strategy=`, and is an option `--strategy`."""


def create(**values: Any) -> Settings:
    """Settings from flat names; a name that is not given takes its default.

    Args:
        values: Values by flat name.

    Returns:
        The settings, checked.

    Raises:
        InvalidSettings: A name is unknown or a value is out of its domain.
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
            wrong += [
                f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()
            ]
    if wrong:
        raise InvalidSettings("; ".join(wrong))
    return Settings.model_validate(made)


def canonical_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by the names that fields have.

    Args:
        values: Values by flat name, aliases among them.

    Returns:
        The same without aliases.

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
            raise InvalidSettings(f"{name!r} is given twice, once as {given!r}; give it once")
        named[name] = value
    return named


def read(path: Path) -> dict[str, Any]:
    """The values in a settings file by flat name, not yet checked, so that others may be laid over them.

    Args:
        path: A TOML file of any format.

    Returns:
        Names and values.

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
    """The values in the text of a settings file by flat name, whatever its format.

    Args:
        text: TOML, flat or in sections.
        what: Names the text in a message.

    Returns:
        Names and values. A name that the text leaves out is there if its format means another value than today's
        default by that.

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
            f"{what} has format {written!r}; this version of Baldur reads up to {FORMAT}: use a newer version"
        )
    values: dict[str, Any] = dict(ABSENT.get(written, {}))
    for name, value in told.items():
        if name in SECTIONS and isinstance(value, dict):
            values |= value
        else:
            values[name] = value
    return values


def from_toml(text: str) -> Settings:
    """Settings from the text of a settings file of any format.

    Args:
        text: TOML.

    Returns:
        The settings, checked.

    Raises:
        InvalidSettings: The text is not TOML, a name is unknown or a value is out of its domain.
    """
    return create(**flatten(text))


def to_toml(settings: Settings) -> str:
    """The settings as TOML in sections; reading it back gives equal settings.

    Args:
        settings: What to write.

    Returns:
        The text of a settings file.
    """
    return tomli_w.dumps({"format": FORMAT, **settings.model_dump(exclude_none=True)})
