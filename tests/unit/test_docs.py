"""README and docs name only what exists: files, headings, flags, tests."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from smoothserve.cli import make_command, verb_commands
from smoothserve.errors import VERB_CODES, VerbCode
from smoothserve.settings.reference import PAGES
from smoothserve.settings.table import TABLE
from smoothserve.verbs.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BEHAVIOUR = DOCS / "reference" / "server-behaviour.md"
MOVING = DOCS / "how-to" / "move-from-gunicorn-or-uvicorn.md"
PAGES_OF_DOCS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
KINDS = {"tutorial", "how-to", "reference", "explanation"}

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9_-]*", re.IGNORECASE)
#: A command that starts the server, with its continued lines, up to a pipe or the next command.
COMMAND = re.compile(r"(?<![\w.])smoothserve((?:[ \t](?:[^\n|;&\\#]|\\\n|\\)*)|$)", re.MULTILINE)
NAMED_TEST = re.compile(r"\btests/[\w/.-]*?\.py(?:::\w+)*")
#: Of `python3 -m tests` and of `python -m tests.load`, not of the server.
OTHER_COMMANDS = re.compile(r"python3? -m tests[.\w]*[^`\n]*")


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES_OF_DOCS, ids=relative)


def without_code(text: str) -> str:
    return CODE.sub("", FENCE.sub("", text))


def anchor(heading: str) -> str:
    """Make the anchor that GitHub makes of a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return text.replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    return frozenset(
        anchor(line.lstrip("# ")) for line in FENCE.sub("", page.read_text()).splitlines() if line[:1] == "#"
    )


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(without_code(page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        path, _, heading = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if heading:
            assert heading in anchors(found), target


def test_every_page_is_linked_from_another() -> None:
    linked = set()
    for page in PAGES_OF_DOCS:
        for target in LINK.findall(without_code(page.read_text())):
            found = (page.parent / target.partition("#")[0]).resolve()
            if found != page:
                linked |= set(found.glob("*.md")) if found.is_dir() else {found}
    assert not [relative(page) for page in PAGES_OF_DOCS[1:] if page not in linked]


def test_pages_are_sorted_into_the_four_kinds() -> None:
    assert {path.name for path in DOCS.iterdir() if path.is_dir() and path.name != "__pycache__"} == KINDS


def test_generated_pages_are_there_and_linked() -> None:
    readme = LINK.findall((ROOT / "README.md").read_text())
    for name in PAGES:
        assert (DOCS / "reference" / name).is_file()
        assert f"docs/reference/{name}" in readme


@cache
def known_flags() -> frozenset[str]:
    commands = [make_command(), *verb_commands().values()]
    flags = {flag for command in commands for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    return frozenset(flags) | {"-h", "--help"}


def commands_in(text: str) -> list[str]:
    """Return the arguments of each `smoothserve` command in code."""
    code = [block for _, block in FENCE.findall(text)] + CODE.findall(FENCE.sub("", text))
    code = [block.replace('", "', " ") for block in code]  # a Dockerfile's CMD ["smoothserve", "..."]
    return [found for block in code for found in COMMAND.findall(OTHER_COMMANDS.sub("", block))]


def flags_in(text: str) -> set[str]:
    """Return the flags of the server's that a page names, in commands and by themselves."""
    flags = {flag for arguments in commands_in(text) for flag in FLAG.findall(arguments)}
    for span in CODE.findall(FENCE.sub("", text)):
        if span.startswith("-"):
            flags.update(FLAG.findall(span.partition(" ")[0].partition("=")[0]))
        elif ":" in span and " --" in span and "/" not in span:  # `module:attr --flag`
            flags.update(FLAG.findall(span))
    return flags


def ours_only(page: Path) -> str:
    """Return a page's text without the other servers' column of its tables."""
    text = page.read_text()
    if page != MOVING:
        return text
    return "\n".join(
        line if not line.startswith("| ") or " the same" in line else "|".join(line.split("|")[2:])
        for line in text.splitlines()
        if "leave it out" not in line
    )


@every_page
def test_named_flags_exist(page: Path) -> None:
    assert not flags_in(ours_only(page)) - known_flags() - {"-m", "-P"}


@every_page
def test_named_variables_exist(page: Path) -> None:
    named = set(re.findall(r"SMOOTHSERVE_[A-Z_]+", page.read_text()))
    # Not a setting: only the tests turn it.
    assert not named - {setting.env for setting in TABLE} - {"SMOOTHSERVE_FAST_PATHS"}


def test_flags_are_found_where_pages_name_them() -> None:
    text = "`--a-b 3` `x:y --c`, `smoothserve app:app -w 4`\n```sh\nbin/smoothserve a:b \\\n  --d=1 # --e\n```\n"
    text += '`python3 -m tests --full`\n```dockerfile\nCMD ["smoothserve", "a:b", "--f"]\n```\n'
    assert flags_in(text) == {"--a-b", "--c", "-w", "--d", "--f"}


@cache
def names_in(path: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):  # TestMachine = Machine.TestCase
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(names)


@every_page
def test_named_tests_exist(page: Path) -> None:
    for named in NAMED_TEST.findall(page.read_text()):
        path, *names = named.split("::")
        assert (ROOT / path).is_file(), named
        for name in names:
            assert name in names_in(ROOT / path), named


def test_each_line_of_the_contract_names_a_test() -> None:
    rows = [line for line in BEHAVIOUR.read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "|---"))]
    assert promises
    assert not [row for row in promises if "::test_" not in row and "::Test" not in row]


@pytest.mark.parametrize("code", VerbCode)
def test_the_exit_codes_of_verbs_are_the_same_in_the_docs_and_in_the_help(code: VerbCode) -> None:
    page = (DOCS / "reference" / "verbs.md").read_text()
    assert f"\n| {code.value} | {VERB_CODES[code]} |\n" in page
    text = f"{code.value} {VERB_CODES[code].replace('`', '')}."
    assert all(text in (one.epilog or "") for one in COMMANDS.values())
