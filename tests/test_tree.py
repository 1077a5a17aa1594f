"""Tests mirror the package: tests/ROOM/test_MODULE.py is about src/baldur/ROOM/MODULE.py."""

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src" / "baldur"

# `test_every_*.py` tries every member of a family. These are about no single module either.
ACROSS = {
    "data/test_contract.py": "the contract of pools, for every reader",
    "distributed/test_whole_runs.py": "a run on a cluster, from its settings to its curve",
    "docs/test_docs.py": "the pages of the documentation",
    "docs/test_errors_page.py": "a page of the documentation",
    "docs/test_interface_page.py": "a page of the documentation",
    "docs/test_methods_page.py": "a page of the documentation",
    "docs/test_mnist_page.py": "a page of the documentation",
    "docs/test_posteriors_page.py": "a page of the documentation",
    "posteriors/dropout/test_against_the_network.py": "all fast ways of sampling, against the network itself",
    "posteriors/dropout/test_architectures.py": "networks of the shapes that people bring",
    "posteriors/test_precision.py": "every posterior under autocast",
    "loop/test_people.py": "a trial that people label",
    "runs/test_made_by_0_1.py": "runs that an older version began",
    "runs/test_on_a_server.py": "runs whose record is on a server",
    "runs/test_mnist.py": "the command line with every strategy",
    "store/test_kills.py": "a run that is killed",
    "strategies/test_memory.py": "what strategies hold in memory",
    "test_brought.py": "what people bring, by format and by entrance",
    "test_front_door.py": "`import baldur`",
    "test_kinds.py": "targets of every kind",
    "test_tree.py": "the tests themselves",
    "test_typed.py": "the types that tests hold the package to",
    "training/test_precision.py": "fits in bfloat16",
}
LONG = {"bad_input.py", "posteriors/dropout/test_posterior.py"}


def module_of(test: Path) -> Path | None:
    """The module that a test file is about; its name may begin with an underscore."""
    name = test.name.removeprefix("test_")
    room = PACKAGE / test.relative_to(TESTS).parent
    return next((path for path in (room / name, room / f"_{name}") if path.exists()), None)


def test_every_test_file_is_about_a_module():
    tests = [path for path in TESTS.rglob("test_*.py") if not path.name.startswith("test_every_")]
    names = {path.relative_to(TESTS).as_posix() for path in tests if module_of(path) is None}
    assert names - ACROSS.keys() == set(), "name it after its module, or say in ACROSS what it is about"
    assert ACROSS.keys() - names == set(), "these are about a module by now, or gone"


def test_every_folder_is_a_room():
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert {folder.as_posix() for folder in folders if not (PACKAGE / folder).is_dir()} <= {"docs"}


def test_no_test_file_is_long():
    long = {path for path in TESTS.rglob("*.py") if len(path.read_text().splitlines()) > 400}
    assert {path.relative_to(TESTS).as_posix() for path in long} == LONG
