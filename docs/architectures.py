"""Writes architectures.md, beside this file, from the rows of the tests' matrix and from the rules.

::

    python docs/architectures.py                        write it anew
    python docs/architectures.py --check                exit 1 if it is not as the rows and the rules say
    python docs/architectures.py --measure [FAMILY …]   ask torch's and Paddle's models first; all takes some minutes

How far apart the answers were is kept in architectures.json. It is shown while it is of the row that is there now, and
of the same version of the family's rules.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from lacking import NOT_IN_PADDLENLP, WITHOUT_RULES  # noqa: E402
from matrix import Row, all_rows  # noqa: E402
from pphub.conversion.rules import load_families  # noqa: E402
from pphub.tokenizer.classes import FORMS, LACKING  # noqa: E402

if TYPE_CHECKING:
    from pphub.conversion.family import Family, Only

PAGE = ROOT / "docs" / "architectures.md"
FIGURES = ROOT / "docs" / "architectures.json"
MEASURED_WITH = ("torch", "transformers", "paddlepaddle", "paddlenlp")

# By how the name of the class goes on; the first that fits.
HEADS = {
    "ForMaskedLM": "masked language model",
    "ForCausalLM": "language model",
    "LMHeadModel": "language model",
    "ForConditionalGeneration": "text for a text",
    "ForPreTraining": "pretraining",
    "ForNextSentencePrediction": "next sentence",
    "ForSequenceClassification": "text classification",
    "ForTokenClassification": "token classification",
    "ForQuestionAnswering": "question answering",
    "ForMultipleChoice": "multiple choice",
    "ForImageTextRetrieval": "image and text",
    "ForSemanticSegmentation": "segmentation",
    "ForDepthEstimation": "depth",
    "ForEntityClassification": "entity classification",
    "ForEntityPairClassification": "entity pairs",
    "ForEntitySpanClassification": "entity spans",
    "WithProjection": "projection",
    "EncoderModel": "encoder alone",
    "HifiGan": "sound of a spectrogram",
    "ForImageSegmentation": "segmentation by a text",
    "ForImageClassification": "image classification",
    "Model": "base model",
}

INTRODUCTION = """\
# Architectures

What pphub converts between torch and Paddle, and how each class is tested. `config.json` names the class, in
`architectures`.

There are rules for **{classes} classes of {families} families**, tested in {rows} configurations. Each of these is a
tiny model with noise on every parameter: two that were exchanged, or one that was forgotten, change its answer.

* **tested** names the configurations: the usual one, and others, such as another activation or tied weights.
* **safetensors** and **.bin**: a model as transformers saves it, and as `torch.save` does, with tied parameters under
  each of their names and a config that leaves out torch's defaults, becomes a Paddle model that gives the same answer.
* **back**: `--to torch` makes every tensor of it again, byte for byte.
* **largest difference**: between any two numbers of torch's and Paddle's answers, with and without padding. The tests
  allow {tolerance}. The figures were taken with {versions}.

Of {broken} classes it says *weights*: there PaddleNLP 2.8 itself fails, whatever the weights. The tensors are
converted, and come back; why there is no answer stands below the table, and the tests see that it is still so.

A config with a value that Paddle's class cannot express is refused, rather than converted wrongly. Where it is said,
the files of PaddleNLP's tokenizer are made from a `tokenizer.json`, if a repository has nothing else.
"""

END = """
This page is written by `make architectures`, from `tests/rows` and the rule files; a test keeps it up to date.
"""

# Families with convolutions over tokens; tests/test_public_models.py holds them against torch.
MIXING = ("convbert", "mobilebert", "nystromformer")
PADDING = (
    "Through unmodified PaddleNLP, the padding token is zeros whatever the checkpoint has for it, and the convolutions"
    " of this family mix it into the tokens beside it: answers to padded texts differ where its row is not zeros."
    " pphub's loader gives the row that is there."
)

Figures = dict[str, dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Measure, write or check; returns the exit code."""
    rows, families = all_rows(), {family.name: family for family in load_families()}
    figures = json.loads(FIGURES.read_bytes()) if FIGURES.is_file() else {"versions": {}, "rows": {}}
    if arguments[:1] == ["--measure"]:
        chosen = [row for row in rows if not arguments[1:] or row.family in arguments[1:]]
        figures = {"versions": {name: version(name) for name in MEASURED_WITH}, "rows": dict(figures["rows"])}
        figures["rows"] |= measure_all(chosen, families)
        known = {str(row) for row in rows}
        figures["rows"] = {name: figures["rows"][name] for name in sorted(figures["rows"]) if name in known}
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8", newline="\n")
    elif arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    page = render(rows, families, figures)
    if arguments == ["--check"]:
        right = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        print(f"{PAGE.name} is {'as' if right else 'NOT as'} the rows and the rules say")
        return 0 if right else 1
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    print(f"{PAGE}: {len(rows)} configurations")
    return 0


# ------------------------------------------------------------------------------------------ the page


def render(rows: list[Row], families: dict[str, Family], figures: dict[str, Any]) -> str:
    """The page."""
    by_family: dict[str, list[Row]] = {name: [] for name in sorted(families)}
    for row in rows:
        by_family[row.family].append(row)
    classes = {(row.family, row.torch_class) for row in rows}
    versions = figures["versions"]
    head = INTRODUCTION.format(
        classes=len(classes),
        families=len(by_family),
        rows=len(rows),
        broken=len({(row.family, row.torch_class) for row in rows if row.broken}),
        tolerance=" or ".join(f"{each:.0e}" for each in sorted({row.tolerance for row in rows})),
        versions=", ".join(f"{name} {number}" for name, number in versions.items()) or "nothing yet",
    )
    sections = [section(families[name], found, figures["rows"]) for name, found in by_family.items()]
    return "\n".join([head, *sections, missing()]) + END


def section(family: Family, rows: list[Row], figures: Figures) -> str:
    """What the page says of a family."""
    lines = [f"## {family.name}", "", tokenizer_line(family), ""]
    lines += ["| transformers | PaddleNLP | head | tested | safetensors | .bin | back | largest difference |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.torch_class, []).append(row)
    lines += [line(family, name, found, figures) for name, found in by_class.items()]
    lines += notes(family, rows)
    return "\n".join([*lines, ""])


def tokenizer_line(family: Family) -> str:
    """The tokenizer, and whether it can come from a tokenizer.json."""
    if family.tokenizer == "AutoTokenizer":
        return "No tokenizer."
    if family.tokenizer in LACKING:
        return "PaddleNLP has no tokenizer for it."
    kinds = {family.tokenizer}
    if family.tokenizer == "RobertaTokenizer":  # PaddleNLP's is one of two
        kinds = {"RobertaBPETokenizer", "RobertaChineseTokenizer"}
    made = sorted({FORMS[kind].model for kind in kinds if kind in FORMS})
    return f"Tokenizer: `{family.tokenizer}`" + (
        f", also from a `tokenizer.json` with a {' or '.join(made)} model." if made else "."
    )


def line(family: Family, torch_class: str, rows: list[Row], figures: Figures) -> str:
    """One class, in all the configurations that it is tested in."""
    paddle = rows[0].paddle_class or family.architectures[torch_class]
    labels = [row.label or "usual" for row in rows]
    tested = "usual" if labels == ["usual"] else ", ".join(labels)
    if all(row.broken for row in rows):
        found = ["weights", "weights", "exact", "–"]
    else:
        found = ["yes", "yes", "exact", difference(rows, figures, family)]
    return f"| {' | '.join([f'`{torch_class}`', f'`{paddle}`', head_of(torch_class), tested, *found])} |"


def head_of(torch_class: str) -> str:
    """What the class is for."""
    return next(words for part, words in HEADS.items() if part in torch_class)


def difference(rows: list[Row], figures: Figures, family: Family) -> str:
    """The largest of all configurations, or a dash where one has not been measured as it is now."""
    known = [figures.get(str(row), {}) for row in rows if not row.broken]
    marks = [fingerprint(row, family) for row in rows if not row.broken]
    if [figure.get("of") for figure in known] != marks:
        return "–"
    return f"{max(max(figure['safetensors'], figure['bin']) for figure in known):.1e}"


def notes(family: Family, rows: list[Row]) -> list[str]:
    """Why Paddle's classes fail, and which configs are refused."""
    found = []
    for broken in dict.fromkeys(row.broken for row in rows if row.broken):
        names = ", ".join(dict.fromkeys(f"`{row.torch_class}`" for row in rows if row.broken == broken))
        which = (
            "Its classes in PaddleNLP fail"
            if all(row.broken == broken for row in rows)
            else f"PaddleNLP's {names} fails"
        )
        found += ["", f"{which}: {broken.why} (`… {broken.error} …`)."]
    found += epsilons(family)
    if family.name in MIXING:
        found += ["", PADDING]
    if family.config.only:
        said = "; ".join(f"`{key}` {values(allowed)}" for key, allowed in sorted(family.config.only.items()))
        found += ["", f"Refused unless {said}."]
    for only in family.only:
        found += ["", refusal(only)]
    if nulls := [f"`{key}`" for key, meant in family.config.null.items() if meant == []]:
        found += ["", f"Refused where {' or '.join(nulls)} is `null`."]
    return found


def epsilons(family: Family) -> list[str]:
    """What PaddleNLP's own loader does not set, and ours does."""
    by_value: dict[float, list[str]] = {}
    for name, value in family.fixed_epsilon.items():
        by_value.setdefault(value, []).append(name)
    found = []
    for value, names in by_value.items():
        whose = "all classes" if len(names) == len(family.architectures) else ", ".join(f"`{name}`" for name in names)
        text = f"Through unmodified PaddleNLP, layer norms of {whose} have the epsilon {value:g} whatever"
        text += f" `{family.epsilon}` says, and the answers differ a little where it says another; pphub's loader gives"
        found += ["", f"{text} them the right one."]
    return found


def refusal(only: Only) -> str:
    """What else is refused, and of which classes or configs."""
    parts = [f"`{key}` {values(allowed)}" for key, allowed in sorted(only.values.items())]
    parts += [f"`{key}` and `{other}` are the same" for key, other in only.same.items()]
    where = [", ".join(f"`{name}`" for name in only.classes)] if only.classes else []
    where += [f"where `{key}` {values(allowed)}" for key, allowed in only.when]
    where += [f"where `{key}` {values(allowed).replace('is', 'is not', 1)}" for key, allowed in only.unless]
    return f"Refused {'of ' if only.classes else ''}{', '.join(where)} unless {'; '.join(parts)}."


def missing() -> str:
    """What both sides have and pphub does not convert, and what PaddleNLP does not have."""
    lines = [
        "## What is missing",
        "",
        "PaddleNLP and transformers both have these classes, and there are no rules for them.",
    ]
    lines += ["The tests see that no other class is missing, and that what is said of PaddleNLP is so.", ""]
    lines += ["| transformers | why |", "|---|---|"]
    lines += [f"| {', '.join(f'`{name}`' for name in lack.names)} | {lack.why} |" for lack in WITHOUT_RULES]
    absent = ", ".join(NOT_IN_PADDLENLP)
    return "\n".join(
        [*lines, "", f"PaddleNLP 2.8 has no classes for {absent}: there is nothing to convert them to.", ""]
    )


def values(allowed: tuple[object, ...]) -> str:
    """As a config has them."""
    if not allowed:
        return "is left out"
    return "is " + " or ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in allowed)


# ------------------------------------------------------------------------------------------ the figures


def fingerprint(row: Row, family: Family) -> str:
    """Changes with the row and with the family's rules: what was measured before then says nothing any more."""
    ask = row.ask if isinstance(row.ask, str) else row.ask.__qualname__
    parts = [family.version, row.config_class, row.settings, ask, row.names, row.compared, row.paddle_class]
    parts += [row.mask_axes, row.paddle_inputs, row.load, row.same]
    # A value that is not JSON's is told by its text, without the address some have.
    text = re.sub(r" at 0x\w+", "", json.dumps(parts, sort_keys=True, default=str))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def measure_all(rows: list[Row], families: dict[str, Family]) -> Figures:
    """What is said of each row whose model PaddleNLP can ask."""
    from pphub.loading import import_paddlenlp

    found = {}
    with tempfile.TemporaryDirectory() as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["PPNLP_HOME"] = home  # PaddleNLP makes folders in it when it is imported
        import_paddlenlp()
        from paddlenlp.utils.log import logger

        logger.disable()
        for row in rows:
            if row.broken is None:
                figures = measure(row, Path(tempfile.mkdtemp(dir=home)))
                found[str(row)] = {"of": fingerprint(row, families[row.family]), **figures}
                print(f"{row}: {figures['safetensors']:.1e} {figures['bin']:.1e}", flush=True)
    return found


def measure(row: Row, folder: Path) -> dict[str, float]:
    """The largest difference of either format."""
    import matrix
    import pphub

    model = matrix.build(row)
    torch = matrix.save(model, folder / "torch")
    matrix.save_bin(model, torch, folder / "bin")
    found = {}
    for name, source in (("safetensors", torch), ("bin", folder / "bin")):
        live = matrix.load(row, pphub.convert(source, folder / f"paddle-{name}"))
        found[name] = max(matrix.differences(row, model, live))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
