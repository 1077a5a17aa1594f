"""One typed object for everything that a run can be told; saved with the run as `settings.toml`."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from baldur.core.sizes import bytes_of
from baldur.errors import InvalidSettings

Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Everything that a run can be told. Field descriptions are the help of the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # What there is to label
    data: str = Field(
        "digits",
        description="digits, mnist, fashion-mnist, cifar10, a folder, .npz/.npy, Parquet, CSV or JSONL",
    )
    data_dir: str | None = Field(None, description="where official data files lie (default: $BALDUR_DATA)")
    image_size: Annotated[int, Field(ge=8)] = Field(
        64, description="photographs are resized to this many pixels"
    )
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="held out for testing where the data names no test split"
    )
    encoder: str | None = Field(None, description="a pretrained network: FILE.pt2 or package.module:factory")

    # What is compared
    strategies: list[str] = Field(
        ["random", "bald"], min_length=1, description="names, or package.module:function"
    )
    seeds: Annotated[int, Field(ge=1, lt=2**20)] = Field(5, description="how many paired repetitions")
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = Field(
        0, description="the seed of the first repetition"
    )
    rounds: Annotated[int, Field(ge=0)] = Field(20, description="how often to ask")
    query_size: Count = Field(10, description="labels asked for in a round")
    initial: Count = Field(20, description="labels before the first question")
    initial_balanced: bool = Field(False, description="draw the initial labels evenly over the classes")
    candidates: Annotated[int, Field(ge=0)] = Field(
        0, description="random unlabelled items to choose among in each round; 0 means all"
    )
    until: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="end a trial once its test accuracy is this (for studies: it looks at the test set)"
    )
    stop: list[str] = Field(
        [],
        description="end a trial when a criterion says so: stabilising-predictions, budget(500), target(0.9), ...",
    )
    noise: str | None = Field(
        None,
        description="simulated answers err: a share, as 0.2, or CIFAR-10N: people:worst, people with --annotators",
    )
    annotators: Count = Field(
        1, description="simulated annotators who each answer; the majority is the label"
    )
    oracle: Literal["simulated", "file"] = Field("simulated", description="who answers: simulated or file")

    # What learns
    learner: str = Field(
        "supervised", description="supervised, or another of docs/posteriors.md, or package.module:factory"
    )
    network: str = Field(
        "auto",
        description="auto, mlp, cnn8, gal2017, batchbald2019, cnn32, resnet18, vgg16, package.module:factory",
    )
    posterior: str = Field(
        "mc-dropout", description="what is believed: mc-dropout, deterministic, ensemble, swag, laplace, ..."
    )
    members: Count = Field(5, description="networks of an ensemble, trained one after the other")
    draws: Count = Field(20, description="posterior samples T")
    epochs: Count = Field(40, description="passes over the labelled set (at most, with --patience)")
    epoch_size: Count = Field(
        256, description="items an epoch at least; a smaller labelled set is repeated evenly"
    )
    batch_size: Count = Field(32, description="items in a training step")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="adam, adamw or sgd")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="step size")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="of sgd")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="L2 penalty")
    schedule: str | None = Field(None, description="of the learning rate: cosine, linear or steps")
    loss: str | None = Field(
        None, description="instead of cross-entropy: generalised_cross_entropy or symmetric_cross_entropy"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each label that is spread over all classes"
    )
    class_weights: bool = Field(False, description="weight the loss by inverse class frequency")
    augment: str | None = Field(
        None, description="weak, strong, or package.module:function, (x, generator) -> x"
    )
    validation: Annotated[int, Field(ge=0)] = Field(
        0, description="labelled items held out for early stopping"
    )
    validation_free: bool = Field(False, description="take them beside the budget, and say so")
    patience: Count = Field(5, description="epochs without improvement before stopping; needs --validation")
    warm_start: bool = Field(False, description="go on from last round's weights")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of training")

    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        10.0, description="a long fit keeps its state at ends of epochs, at most this often"
    )

    # How it runs
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="threads of PyTorch; 0 leaves it as it is")
    memory: str = Field("1GiB", description="what scoring may use beyond the data")
    trunk_cache: str | None = Field(
        None, description="keep what a frozen network's trunk gives on disk, so many bytes: 4GiB, say"
    )
    score_batch: Count = Field(128, description="items scored at a time; a GPU likes more")
    score_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of scoring; auto is bfloat16 on a GPU that has it, else float32"
    )
    engine: Literal["local", "ray"] = Field("local", description="where it is computed: local or ray")
    address: str | None = Field(
        None,
        description="of a Ray cluster, host:port or auto; unset or local, one is started on this machine",
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="of the Ray cluster; 0 means as many as --threads leaves room for"
    )
    targets: list[Annotated[float, Field(gt=0, lt=1)]] = Field([0.9, 0.95], description="accuracies to reach")

    @field_validator("stop", mode="before")
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

    @field_validator("memory", "trunk_cache")
    @classmethod
    def _is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            bytes_of(value)
        return value


def create(**values: Any) -> Settings:
    """Settings from keyword arguments; what is not given takes its default.

    Args:
        values: Fields of `Settings`.

    Returns:
        The settings, checked.

    Raises:
        InvalidSettings: A name is unknown or a value is out of its domain.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise InvalidSettings("; ".join(lines)) from None


def read(path: Path) -> dict[str, Any]:
    """The values in a settings file, not yet checked, so that others may be laid over them.

    Args:
        path: A TOML file.

    Returns:
        Field names and values.

    Raises:
        InvalidSettings: There is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidSettings(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} is not TOML: {error}") from None


def from_toml(text: str) -> Settings:
    """Settings from the text of a settings file.

    Args:
        text: TOML.

    Returns:
        The settings, checked.

    Raises:
        InvalidSettings: The text is not TOML, a name is unknown or a value is out of its domain.
    """
    try:
        return create(**tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"the settings are not TOML: {error}") from None


def to_toml(settings: Settings) -> str:
    """The settings as TOML; reading it back gives equal settings.

    Args:
        settings: What to write.

    Returns:
        The text of a settings file.
    """
    return tomli_w.dumps(settings.model_dump(exclude_none=True))
