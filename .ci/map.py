"""Writes the tree of files in docs/architecture.md: `make map`. With `--check` it only compares.

What the tree says of a file is the first sentence of its docstring, or of the comment it begins
with; of a folder, that of its `__init__.py`. Folders that are no packages are described here.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path("docs/architecture.md")
BEGIN, END = "<!-- tree: written by `make map` -->\n```text\n", "```\n<!-- end of the tree -->\n"

ROOMS = ["web", "common", "evals", "worker", "cli", "client", "bench", "tests"]
FOLDERS = {
    "bench": "The benchmarks; each prints a line of JSON last",
    "bench/data": "Texts in the public domain that perplexity is measured on",
    "web/intake/builtin": "The built-in presets, a file each",
    "client": "The Python client, a distribution of its own: `promptmill-client`",
    "web/pages/static": "Scripts and styles of the pages",
    "web/pages/templates": "The pages' HTML as Jinja templates, one for each page",
    "web/rating/static": "Script and style of the raters' page",
    "web/rating/templates": "The raters' page as Jinja templates",
    "common/store/lua": "The Lua scripts, one for each change of the store",
    "common/store/lua/exchange": "The parts of the script `exchange`",
    "common/store/lua/lib": "What all scripts begin with",
    "worker/engine/kernels/source": "The kernels in C++, and the one file that exports them",
    "tests": "The tests, against real servers, workers and browsers",
    "tests/browser": "The pages in Chromium",
    "tests/clients": "Programs that use other libraries, in an environment of their own",
    "tests/e2e": "The commands, the demo and the examples, as a user runs them",
    "tests/faults": "Parts killed, frozen and cut off under load; the ledger that judges it",
    "tests/field": "Whole stacks: clients, proxies, hostile requests, backups, full disks",
    "tests/integration": "One part against a real Valkey",
    "tests/integration/batches": "OpenAI's files and batches",
    "tests/integration/comparisons": "Comparisons of jobs: computed, over the API, as a page",
    "tests/integration/evaluations": "Evaluations: their store, and evaluators that are killed",
    "tests/integration/openai": "OpenAI's client: chats and completions",
    "tests/integration/pages": "The pages without a browser",
    "tests/integration/store": "The store: every law of the scripts",
    "tests/integration/store/schema_1": "The scripts of the store's first schema, beside today's",
    "tests/integration/web": "The native API and what all dialects share",
    "tests/integration/webhooks": "Webhook deliveries",
    "tests/integration/worker": "Celery workers with the echo engine",
    "tests/support": "What tests start: servers, stacks, workers, receivers",
    "tests/unit": "Functions and classes on their own",
    "tests/unit/bench": "What benchmarks compute from what they measured",
    "tests/unit/cli": "The command line",
    "tests/unit/client": "The Python client",
    "tests/unit/common": "What all rooms share",
    "tests/unit/docs": "The pages: links, paths, the map, decisions, limits of length",
    "tests/unit/engine": "The engine, on small models of random weights",
    "tests/unit/evals": "Metrics and statistics, beside what other programs compute",
    "tests/unit/openai": "The translation from and to OpenAI's requests and answers",
    "tests/unit/prompting": "How prompts are made: templates, cleaning, truncation",
    "tests/unit/signing": "Webhook signatures",
    "tests/unit/structured": "What a text must be: formats, bounds, grammars",
    "tests/unit/worker": "The worker, without a store",
    "tests/unit/web": "The web tier: reading bodies, connections, proxies",
    "tests/vllm": "vLLM as an engine, in an environment of its own: `make test-vllm`",
}
# The files in these are not listed.
BY_FOLDER = {"tests", "bench/data", "web/pages/templates", "web/rating/templates"}
UNLISTED = {".svg", ".pyc", ".toml", ".typed"}
UNLISTED_NAMES = {"__init__.py", "README.md", "LICENSE"}


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    files = {str(path): sentence(path) for room in ROOMS for path in walk([Path(room)])}
    if "--check" not in arguments:
        page = replace_tree(page, draw_tree(files))
        PAGE.write_text(page, encoding="utf-8")
    wrong = list(faults(files, read_tree(page)))
    for path, fault in wrong:
        print(f"{path}: {fault}")
    return 1 if wrong else 0


def walk(paths: list[Path], listed: bool = True) -> Iterator[Path]:
    """The folders and files of the tree in its order: in each folder files before folders."""
    for path in sorted(paths, key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir():
            if path.suffix != ".egg-info" and holds_files(path):
                yield path
                yield from walk(list(path.iterdir()), listed and str(path) not in BY_FOLDER)
        elif listed and not unlisted(path):
            yield path


def unlisted(path: Path) -> bool:
    return path.suffix in UNLISTED or path.name in UNLISTED_NAMES


def holds_files(folder: Path) -> bool:
    """False for a folder of compiled modules, which may be all that git leaves of one that is no
    more."""
    return any(path.is_file() and path.suffix != ".pyc" for path in folder.rglob("*"))


def sentence(path: Path) -> str:
    """What a file or folder is for, or "" where it does not say."""
    if str(path) in FOLDERS:
        return FOLDERS[str(path)]
    if path.is_dir():
        path /= "__init__.py"
        if not path.exists():
            return ""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        opening = ast.get_docstring(ast.parse(text, str(path))) or ""
    else:
        opening = first_comment(text)
    opening = " ".join(opening.split("\n\n")[0].split())
    first = re.split(r"(?<=[.?!])\s", opening)[0].rstrip(".:")
    return first[:1].upper() + first[1:]


def first_comment(text: str) -> str:
    """The comment that a script or style sheet begins with; of a Lua script without its call."""
    text = re.sub(r"^#!.*\n", "", text)
    if block := re.match(r"/\*(.*?)\*/", text, re.DOTALL):
        return block[1]
    lines = re.match(r"(?:(?:--|//|#) ?.*\n)*", text)
    words = re.sub(r"^(--|//|#) ?", "", lines[0] if lines else "", flags=re.MULTILINE)
    return re.sub(r"^\w+\([^)]*\):?\s*", "", words)


def draw_tree(files: dict[str, str]) -> str:
    names = {path: name_in_tree(Path(path)) for path in files}
    width = max(len(name) for name in names.values()) + 2
    return "".join(f"{names[path]:{width}}{text}\n" for path, text in files.items())


def name_in_tree(path: Path) -> str:
    return "  " * (len(path.parts) - 1) + path.name + ("/" if path.is_dir() else "")


def read_tree(page: str) -> dict[str, str]:
    """The paths in the page's tree, each with what is said of it."""
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in page.partition(BEGIN)[2].partition(END)[0].splitlines():
        name, _, text = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name.removesuffix("/")]
        found["/".join(folders)] = text.strip()
    return found


def replace_tree(page: str, tree: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no place for the tree: {BEGIN!r} … {END!r}")
    return before + begin + tree + end + after


def faults(files: dict[str, str], told: dict[str, str]) -> Iterator[tuple[str, str]]:
    """How the tree on the page (`told`) differs from the folders, and what to do about it."""
    for path, text in files.items():
        if not text:
            yield path, "say in the first sentence of its docstring what it is for"
        elif path not in told:
            yield path, f"is missing in {PAGE}; `make map` writes it there"
        elif told[path] != text:
            yield path, f"begins otherwise than {PAGE} says; `make map` puts it right"
    for path in told.keys() - files.keys():
        yield path, f"is in {PAGE}, but there is no such file; `make map` takes it out"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
