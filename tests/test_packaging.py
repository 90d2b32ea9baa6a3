"""The house: what the wheel holds, what imports what, and what importing costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

import pphub
from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {"pphub": ROOT / "hub", "pphub_plugins": ROOT / "plugins", "pphub_cache": ROOT / "cache"}
# The values and errors everything else is written in terms of.
BASE = {"pphub.errors", "pphub.names", "pphub.settings", "pphub.source", "pphub.units"}
HEAVY = {"paddle", "paddlenlp", "torch", "transformers", "huggingface_hub", "modelscope", "modelscope_hub", "starlette"}


def modules() -> dict[str, Path]:
    found = {}
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Modules a file imports when it runs; imports for type checkers only do not count."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if top_level_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def test_there_are_modules_to_look_at() -> None:
    assert {"pphub", "pphub.api", "pphub_cache.store", "pphub_plugins.huggingface"} <= modules().keys()


def test_base_modules_import_nothing_but_each_other() -> None:
    for name in BASE:
        ours = {found for found in imports(modules()[name]) if found.split(".")[0] in PACKAGES}
        allowed = BASE | {"pphub"}
        assert all(found in allowed or found.rpartition(".")[0] in BASE | {"pphub"} for found in ours), (name, ours)
        assert not any(found.startswith("pphub.") and found.split(".")[1] not in _base_names() for found in ours)


def _base_names() -> set[str]:
    return {name.split(".")[1] for name in BASE}


@pytest.mark.parametrize("package", ["pphub_cache", "pphub_plugins"])
def test_cache_and_plugins_import_only_the_base(package: str) -> None:
    for name, path in modules().items():
        if name.split(".")[0] == package:
            for found in imports(path):
                top = found.split(".")[0]
                if top == "pphub":
                    assert len(found.split(".")) > 1, f"{name} imports the whole of pphub"
                    assert found.split(".")[1] in _base_names(), f"{name} imports {found}"
                else:
                    assert top not in PACKAGES.keys() - {package}, f"{name} imports {found}"


def test_nothing_imports_a_plugin_by_name() -> None:
    for name, path in modules().items():
        if not name.startswith("pphub_plugins"):
            assert not any(found.startswith("pphub_plugins") for found in imports(path)), name


def test_stages_only_look_forward_through_the_api() -> None:
    """No stage imports a later one: each is handed the value of the one before."""
    order = ["names", "resolve", "fetching", "conversion", "loading", "live", "auto", "cli"]
    for index, stage in enumerate(order):
        later = {f"pphub.{other}" for other in order[index + 1 :]}
        for name, path in modules().items():
            if name == f"pphub.{stage}" or name.startswith(f"pphub.{stage}."):
                reached = {".".join(found.split(".")[:2]) for found in imports(path)}
                assert not reached & later, f"{name} imports {reached & later}"


def test_heavy_packages_are_never_imported_at_the_top_of_a_module() -> None:
    for name, path in modules().items():
        if not name.startswith("pphub.serve"):
            tops = {found.split(".")[0] for found in imports(path, top_level_only=True)}
            assert not tops & HEAVY, f"{name} imports {tops & HEAVY}"


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import pphub"],
        ["-c", "import pphub; pphub.AutoModel; pphub.download; pphub.errors"],
        ["-c", "from pphub.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"],
        ["-c", "from pphub.cli import main; main(['env', '--json'])"],
        ["-c", "from pphub.cli import main; main(['path', 'bert-base-uncased', '-q'])"],
        ["-c", "from pphub.cli import main; main(['sources'])"],
    ],
)
def test_light_commands_load_nothing_heavy(command: list[str]) -> None:
    report = "\nimport sys; print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    command = [*command[:-1], command[-1] + report]
    output = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True).stdout
    loaded = set(output.splitlines()[-1].split())
    assert "pphub" in loaded
    assert not loaded & HEAVY


def test_importing_pphub_loads_almost_nothing() -> None:
    code = "import sys; before = set(sys.modules); import pphub; print(len(set(sys.modules) - before))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(output) < 40
    code = "import pphub, sys; print('numpy' in sys.modules, 'requests' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False False\n"


def test_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    # Built without isolation: an isolated build would have to reach a package registry.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"pphub", "pphub_plugins", "pphub_cache", f"pphub-{pphub.__version__}.dist-info"}
    on_disk = {
        str(path.relative_to(folder))
        for package, folder in PACKAGES.items()
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info" not in name} == on_disk
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert "pphub/conversion/rules/bert.toml" in names
    assert "pphub/data/shortcuts.toml" in names
    assert "pphub_plugins/data/builtin_names.json" in names


def test_our_sources_and_command_are_declared_as_entry_points() -> None:
    sources = {point.name: point.value for point in entry_points(group="pphub.sources") if point.dist}
    assert sources["hf"] == "pphub_plugins.huggingface:HuggingFaceSource"
    assert sources["ms"] == "pphub_plugins.modelscope:ModelScopeSource"
    assert sources["bos"] == "pphub_plugins.bos:BosSource"
    assert sources["file"] == "pphub_plugins.local:LocalSource"
    (command,) = entry_points(group="console_scripts", name="hub")
    assert command.value == "pphub.cli:run"


def test_exported_names() -> None:
    assert set(pphub.__all__) == {
        "AutoBackbone",
        "AutoConfig",
        "AutoDecoder",
        "AutoDiscriminator",
        "AutoEncoder",
        "AutoGenerator",
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoModelForCausalLMPipe",
        "AutoModelForConditionalGeneration",
        "AutoModelForMaskedLM",
        "AutoModelForMultipleChoice",
        "AutoModelForPretraining",
        "AutoModelForQuestionAnswering",
        "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
        "AutoTokenizer",
        "__version__",
        "align",
        "convert",
        "download",
        "errors",
        "from_pretrained",
        "prepare",
        "publish",
    }
    for name in pphub.__all__:
        assert getattr(pphub, name) is not None
    assert set(dir(pphub)) == set(pphub.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pphub.no_such_name  # type: ignore[attr-defined]


def test_every_module_declares_its_names() -> None:
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = any(
            isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") for node in tree.body
        )
        declares = any(isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets[0]) for node in tree.body)
        assert declares or not public, f"{name} has no __all__"


def test_errors_know_their_exit_codes_and_survive_pickling() -> None:
    import pickle

    from pphub import errors

    codes = {name: getattr(errors, name).exit_code for name in errors.__all__}
    assert {name for name, code in codes.items() if code == 2} == {"InvalidName", "UsageError"}
    assert {name for name, code in codes.items() if code == 3} == {
        "AccessDenied",
        "SourceNotInstalled",
        "SourceUnavailable",
    }
    assert {name for name, code in codes.items() if code == 4} == {"Refused", "UnsafeCheckpoint", "Corrupt"}
    for name in errors.__all__:
        kind = getattr(errors, name)
        copy = pickle.loads(pickle.dumps(kind("what happened", hint="what to do")))
        assert type(copy) is kind
        assert str(copy) == "what happened\n  hint: what to do"
        assert name in (errors.__doc__ or ""), f"{name} is missing from the drawn tree"
    assert issubclass(errors.NotFound, FileNotFoundError)
    assert issubclass(errors.AccessDenied, PermissionError)
    assert issubclass(errors.SourceUnavailable, ConnectionError)
    assert issubclass(errors.UnsafeCheckpoint, ValueError)


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:"))
    for target in phony.split()[1:]:
        assert f"make {target} " in listed


def test_json_is_one_document() -> None:
    output = subprocess.check_output([sys.executable, "-m", "pphub", "env", "--json"], text=True)
    assert {"settings", "packages", "paddlenlp"} == json.loads(output).keys()


def test_no_module_is_called_like_a_public_function() -> None:
    """Importing the module would put it where the function is expected."""
    for name in pphub.__all__:
        assert name == "errors" or f"pphub.{name}" not in modules()
