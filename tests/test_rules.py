"""The rule language: what is refused, and that every shipped rule can be undone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pphub.checkpoint.folder import read_weights
from pphub.checkpoint.tensor import Tensor, contiguous_strides
from pphub.conversion.config import translate_config
from pphub.conversion.constants import CONSTANTS, make_constant
from pphub.conversion.family import Family, Found, Side, Table, fill
from pphub.conversion.moves import Request
from pphub.conversion.operation import Operation
from pphub.conversion.plan import make_plan
from pphub.conversion.rules import find_family, find_paddle_family, load_families, parse_family
from pphub.conversion.sizes import count_layers, lookup
from pphub.conversion.torch_config import translate_back
from pphub.errors import ConversionFailed

HEAD = """
family = "x"
version = 1
model_type = "x"
tokenizer = "T"
[prefix]
torch = "transformer"
paddle = "x"
[indices]
n = "layers"
[architectures]
A = "PA"
AWithHead = "PAWithHead"
"""

SHIPPED = [(family, name) for family in load_families() for name in family.architectures]


def rule(text: str, kind: str = "base") -> str:
    return f"{HEAD}[[{kind}]]\n{text}\n"


# -- what is shipped -----------------------------------------------------------------------------------------


def test_every_file_is_shipped_under_the_name_of_its_family() -> None:
    folder = Path(sys.modules["pphub.conversion"].__path__[0]) / "rules"
    assert {path.stem for path in folder.glob("*.toml")} >= {family.name for family in load_families()} >= {"bert"}
    assert (folder / "README.md").is_file()


def test_the_readme_has_an_example_of_every_key() -> None:
    """The keys are those that the errors list."""
    text = (Path(sys.modules["pphub.conversion"].__path__[0]) / "rules" / "README.md").read_text(encoding="utf-8")
    bad = rule('torch = "a"\npaddle = "b"\nas = "tensor"')
    places = (
        f"oops = 1\n{bad}",
        f"{bad}oops = 1",
        rule("drop = 1\noops = 1"),
        rule("oops = 1", "tie"),
        rule("oops = 1", "only"),
    )
    for place in (*places, f"{bad}[config.oops]"):
        with pytest.raises(ValueError, match="unknown key 'oops'") as caught:
            parse_family(place)
        for key in str(caught.value).partition("known here: ")[2].split(", "):
            assert any(form in text for form in (f"\n{key} =", f"[{key}]", f"[{key}.", f"[config.{key}")), key


def test_no_two_files_are_about_one_torch_class() -> None:
    assert len({name for _, name in SHIPPED}) == len(SHIPPED)


def names(request: Request) -> dict[str, Found]:
    """Every name that a whole model of two layers has on the side that is made, and what it is."""
    counts = dict.fromkeys(request.family.indices, 2)
    found = {}
    for each, index in request.family.instances(request.architecture, counts):
        for part, written in enumerate(request.outputs(Found(each, 0, index))):
            found.update({name: Found(each, part, index) for name in written})
    return found


@pytest.mark.parametrize(("family", "architecture"), SHIPPED, ids=[name for _, name in SHIPPED])
def test_names_there_and_back_are_the_same(family: Family, architecture: str) -> None:
    """For a whole model of the class: each name of either side is one rule's, and leads to the names it came from."""
    family = family.narrowed({})
    pairs: list[tuple[Side, Side]] = [("torch", "paddle"), ("paddle", "torch")]
    for side, other in pairs:
        table, back = Table(family, architecture, side), Request(family, architecture, side, {})
        there = Request(family, architecture, other, {})
        whole = names(back)
        assert whole
        for name, expected in whole.items():
            found = table.find(name)
            assert found is not None, name
            assert (found.rule, found.part, found.index) == (expected.rule, expected.part, expected.index)
            for made in (made for part in there.outputs(found) for made in part):
                again = Table(family, architecture, other).find(made)
                assert again is not None
                assert name in {each for part in back.outputs(again) for each in part}


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (rule('torch = "a"'), "the rule for 'a': it must have either"),
        (rule('torch = "a"\npaddle = "b"\nas = "linear"\ndrop = "x"'), "unknown key 'as'"),
        (rule('torch = "a"\npaddle = "b"\ndrop = "x"'), "not in both"),
        (rule('torch = "a"\ndrop = "x"\nextra = 1'), "unknown key 'extra'"),
        (rule('torch = "a"\ndrop = "x"\nvalue = "pi"'), "value is a number or one of zeros"),
        (rule('torch = "a"\ndrop = "x"\nwhen = 1'), "`when` is 1, not a table"),
        (rule('torch = "a"\ndrop = "x"\nshape = [1]'), "those of a `value`"),
        (rule('torch = "a"\npaddle = "b"\nas = "cube"'), "`as` is 'cube', not one of linear"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"\nbias = "no"'), "bias is true, false or 'optional'"),
        (rule('torch = 3\npaddle = "b"\nas = "tensor"'), "3 is no name"),
        (rule('torch = "a"\npaddle = ["b", "c"]\nas = "tensor"'), "further names are `aliases`"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"\nsplit = true'), "a split has several names"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"\nmerge = true'), "a merge in `torch`"),
        (rule('torch = ["a", "c"]\npaddle = ["b", "d"]\nas = "tensor"\nmerge = true\nsplit = true'), "not both"),
        (rule('torch = "a"\npaddle = ["b", "d"]\nas = "tensor"\nsplit = true\naliases = ["e"]'), "have no aliases"),
        (rule('torch = "a"\npaddle = ["b", "d"]\nas = "matrix"\nsplit = true'), "'matrix' is not split"),
        (rule('torch = "a"\npaddle = "b"\nas = "linear"\nshape = [1]'), "`shape` is for as = 'tensor'"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"\npaddle_shape = [1]'), "needs torch's"),
        (rule('torch = "a.{n}"\npaddle = "b"\nas = "tensor"'), "'b' has other placeholders than 'a.{n}'"),
        (rule('torch = "a.{n}"\npaddle = "b.{m}"\nas = "tensor"'), "other placeholders"),
        (rule('torch = "a.{n}"\npaddle = "b.{n}"\nas = "tensor"\nwhen = { "kinds.{m}" = 1 }'), "other placeholders"),
        (rule('torch = "a.{m}"\npaddle = "b.{m}"\nas = "tensor"'), r"'m' is not in \[indices\]"),
        (rule('torch = "a{n}"\npaddle = "b{n}"\nas = "tensor"'), "stands between two dots"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"\nfor = ["B"]'), r"'B' is not in \[architectures\]"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"') + '[absent]\nB = ["x"]', r"'B' is not in"),
        (
            rule('torch = "a.{n}.b"\npaddle = "a.{n}.b"\nas = "tensor"')
            + rule('torch = "a.3.b"\npaddle = "c"\nas = "tensor"').removeprefix(HEAD),
            "'a.{n}.b' and 'a.3.b' both know 'a.3.b' of torch, in A",
        ),
        (
            rule('torch = "a"\npaddle = "c"\nas = "linear"')
            + rule('torch = "b"\npaddle = "c"\nas = "embedding"').removeprefix(HEAD),
            "'a.weight' and 'b.weight' both know 'c.weight' of paddle",
        ),
        (
            rule('torch = "a"\npaddle = "c"\nas = "tensor"')
            + rule('torch = "transformer.a"\npaddle = "d"\nas = "tensor"', "head").removeprefix(HEAD),
            "both know 'transformer.a' of torch",
        ),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"') + '[config.rename]\na = "c"\nb = "c"', "two keys become 'c'"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"') + "[config.no]\na = 1", "unknown key 'no'"),
        (rule('paddle = "b"\ntorch = "z"\nas = "tensor"', "tie"), "the tie for 'b': no rule knows 'z'"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"') + "[config.rename]\na = 1", "a = 1 has no meaning there"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"') + '[config.derive]\na = "b ^ c"', "has no meaning there"),
        (rule('torch = "a"\npaddle = "b"\nas = "tensor"\nuntied = ["c"]'), "some of the further names"),
        (rule('torch = ["a", "c"]\npaddle = "b"\nas = "tensor"\nused = "c"'), "where some are `untied`"),
        (HEAD + '[[only]]\nfor = ["B"]\nvalues = { a = [1] }\n', r"'B' is not in \[architectures\]"),
        (HEAD + "[[only]]\nvalues = { a = 1 }\n", r"\[\[only\]\]: values is"),
        (HEAD + "[[only]]\nsame = { a = 1 }\n", r"\[\[only\]\]: same is"),
        (HEAD + "[[only]]\nunless = 1\nvalues = { a = [1] }\n", "`unless` is 1, not a table"),
        ("fixed_epsilon = 1e-5" + HEAD, "where there is an epsilon"),
        ('epsilon = "e"' + HEAD, "where there is an epsilon"),
        ('epsilon = "e"\nfixed_epsilon = { B = 1e-5 }' + HEAD, r"'B' is not in"),
        (HEAD.replace('tokenizer = "T"\n', ""), "'tokenizer' is missing"),
        ("family = ", "Invalid value"),
        ("oops = 1\n" + HEAD, "unknown key 'oops'"),
    ],
)
def test_a_senseless_rule_file_is_an_error_that_names_file_and_rule(text: str, why: str) -> None:
    assert parse_family(HEAD).name == "x"
    with pytest.raises(ValueError, match=why) as caught:
        parse_family(text, "rules/x.toml")
    assert str(caught.value).startswith("rules/x.toml: ")


def test_one_paddle_name_of_two_rules_is_told_apart_by_class() -> None:
    text = rule('torch = "a"\npaddle = "c"\nas = "tensor"\nfor = ["A"]')
    text += '[[head]]\ntorch = "b"\npaddle = "c"\nas = "tensor"\nfor = ["AWithHead"]\n'
    family = parse_family(text)
    for architecture, name in (("A", "a"), ("AWithHead", "b")):
        found = Table(family, architecture, "paddle").find("c")
        assert found is not None
        assert found.rule.label == name


# -- what it does to values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "shapes", "text"),
    [
        (Operation(), [(4, 6)], ["same"]),
        (Operation(transpose=True), [(4, 6)], ["transpose"]),
        (Operation(parts=3, transpose=True), [(6, 4)], [f"split {n}/3 of axis 0, transpose" for n in (1, 2, 3)]),
        (Operation(parts=2, axis=1), [(4, 6)], ["split 1/2 of axis 1", "split 2/2 of axis 1"]),
        (Operation(parts=2, cut="torch", transpose=True), [(2, 5), (2, 5)], ["merge 2 along axis 0, transpose"]),
        (Operation(shapes=((4, 3, 2), (4, -1))), [(4, 3, 2)], ["reshape"]),
        (Operation(shapes=((), (1,))), [()], ["reshape"]),
    ],
)
def test_an_operation_and_its_inverse(operation: Operation, shapes: list[tuple[int, ...]], text: list[str]) -> None:
    from dataclasses import replace

    random = np.random.default_rng(0)
    arrays: list[Any] = [random.normal(size=shape) for shape in shapes]
    made = operation.run(arrays)
    assert [array.shape for array in made] == operation.results(shapes)
    assert [operation.describe(part) for part in range(len(made))] == text
    inverse = replace(operation, to="torch")
    again = inverse.run(made)
    assert inverse.results([array.shape for array in made]) == shapes
    for first, second in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("operation", "shapes"),
    [
        (Operation(transpose=True), [(4,)]),
        (Operation(parts=3), [(4, 4)]),
        (Operation(parts=2, axis=1), [(4,)]),
        (Operation(parts=2, cut="torch"), [(2, 5), (2, 6)]),
        (Operation(shapes=((4, 3), (4, -1))), [(4, 2)]),
        (Operation(shapes=((4, 3), (5, -1))), [(4, 3)]),
    ],
)
def test_shapes_that_do_not_fit(operation: Operation, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"transposes|splits|merges|expects|makes"):
        operation.results(shapes)


def fake(name: str, *shape: int) -> Tensor:
    """A tensor that can be planned with, but not read."""
    return Tensor(name, "float32", shape, contiguous_strides(shape), Path("none"), 0, 1 << 20)


def real(folder: Path, name: str, values: Any) -> Tensor:
    """A tensor of a file."""
    save_file({name: np.ascontiguousarray(values)}, folder / "one.safetensors")
    return read_weights(folder / "one.safetensors")[name]


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ("sinusoidal", np.asarray(make_constant("sinusoidal", (8, 4), "float32"), "float32") + np.float32(1e-3)),
        ("arange", np.arange(8) + 1),
        ("arange", np.full(8, 3)),
        ("zeros", np.ones((1, 8), "int64")),
        ("tril", np.ones((1, 1, 4, 4), "bool")),
        ("ones", np.full(4, np.nan, "float32")),
        (-1e9, np.full(2, -1e4, "float32")),
    ],
)
def test_what_is_left_out_must_be_what_the_rule_says(tmp_path: Path, value: str | float, values: Any) -> None:
    """Else the model would be another one, and nobody would see it."""
    written = f'"{value}"' if isinstance(value, str) else value
    family = parse_family(rule(f'torch = "a"\ndrop = "made again"\nvalue = {written}'))
    request = Request(family, "A", "paddle", {})
    right = real(tmp_path, "a", make_constant(value, values.shape, str(values.dtype)))
    assert make_plan(request, {"a": right}).drops[0].value == value
    with pytest.raises(ConversionFailed, match=f"a is not {value!r}, as it is in every model"):
        make_plan(request, {"a": real(tmp_path, "a", values)})


def test_what_is_left_out_may_be_rounded_or_a_single_number(tmp_path: Path) -> None:
    family = parse_family(rule('torch = "a"\ndrop = "made again"\nvalue = "sinusoidal"'))
    request = Request(family, "A", "paddle", {})
    table = make_constant("sinusoidal", (512, 4), "float64")
    for dtype in ("float32", "float16"):
        (drop,) = make_plan(request, {"a": real(tmp_path, "a", table.astype(dtype))}).drops
        assert drop.value == "sinusoidal"
    (drop,) = make_plan(request, {"a": real(tmp_path, "a", np.add(table, 1e-7).astype("float32"))}).drops
    assert drop.value is None  # near enough to be left out, but not to be made again
    (drop,) = make_plan(request, {"a": real(tmp_path, "a", np.float32(-1e4))}).drops
    assert drop.value == -1e4


def test_of_two_parameters_that_the_config_unties_the_one_that_torch_uses_is_taken(tmp_path: Path) -> None:
    text = 'torch = ["a", "b"]\nuntied = ["b"]\npaddle = "c"\nas = "tensor"\n'
    tensors = {name: real(tmp_path / name, name, values) for name, values in two(tmp_path).items()}
    untied = {"tie_word_embeddings": False}
    plan = make_plan(Request(parse_family(rule(text + 'used = "b"')), "A", "paddle", untied), tensors)
    assert [move.sources for move in plan.moves] == [("b",)]
    assert [(drop.tensor.name, drop.value) for drop in plan.drops] == [("a", "zeros")]
    assert "not used by torch, which takes b" in plan.drops[0].reason
    with pytest.raises(
        ConversionFailed, match=r"a and b are two parameters, since config\.json unties them; in .* one"
    ):
        make_plan(Request(parse_family(rule(text)), "A", "paddle", untied), tensors)
    for each in (text, text + 'used = "b"'):
        with pytest.raises(ConversionFailed, match="a and b both become c, but their values differ") as caught:
            make_plan(Request(parse_family(rule(each)), "A", "paddle", {}), tensors)
        assert "contradicts itself" in str(caught.value)


def two(folder: Path) -> dict[str, Any]:
    """Different values under two names, each with a folder."""
    for name in ("a", "b"):
        (folder / name).mkdir()
    return {"a": np.zeros(3, "float32"), "b": np.ones(3, "float32")}


def test_parts_that_are_missing_are_named() -> None:
    family = parse_family(rule('torch = ["q", "k", "v"]\npaddle = "qkv"\nas = "tensor"\nmerge = true'))
    tensors = {name: fake(name, 4) for name in ("q", "v")}
    with pytest.raises(ConversionFailed, match=r"parts that q belongs to.*\n  k"):
        make_plan(Request(family, "A", "paddle", {}), tensors)
    tensors["k"] = fake("k", 4)
    plan = make_plan(Request(family, "A", "paddle", {}), tensors)
    assert [tensor.name for tensor in plan.moves[0].tensors] == ["q", "k", "v"]


def test_constants() -> None:
    assert make_constant("arange", (1, 3), "int64").tolist() == [[0, 1, 2]]
    assert make_constant("tril", (1, 1, 2, 2), "bool").tolist() == [[[[True, False], [True, True]]]]
    assert make_constant(-1e4, (), "float32").item() == -1e4
    assert make_constant("ones", (2,), "bfloat16").tolist() == [0x3F80, 0x3F80]
    for value in CONSTANTS:
        assert make_constant(value, (4, 6), "float32").shape == (4, 6)
    for value, shape, dtype in (("pi", (1,), "int64"), ("ones", (1 << 40,), "int8"), ("ones", (1,), "int3")):
        with pytest.raises(ValueError, match="constant"):
            make_constant(value, shape, dtype)


def test_roformers_table_of_positions_is_the_one_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    settings = transformers.RoFormerConfig(
        vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    table = transformers.RoFormerModel(settings).encoder.embed_positions.weight.detach().numpy()
    assert np.abs(make_constant("sinusoidal", table.shape, "float64") - table).max() <= 1e-6


# -- which file ----------------------------------------------------------------------------------------------


def test_a_paddle_class_leads_to_the_torch_class_that_is_wanted() -> None:
    assert find_paddle_family({"architectures": ["BertForPretraining"]})[1] == "BertForPreTraining"
    with pytest.raises(ConversionFailed, match=r"names 'MambaModel'; there are rules for .*bert, "):
        find_paddle_family({"architectures": ["MambaModel"]})
    assert find_family({"architectures": ["BertModel"]})[0].name == "bert"


SCRIPT = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
from pphub.conversion.rules import RulesIgnored, find_family, load_families
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    family, name = find_family({"architectures": ["Their"]})
    assert (family.name, name) == ("theirs", "Their")
    assert find_family({"model_type": "theirs"})[0] is family
    assert find_family({"architectures": ["BertModel"]})[0].tokenizer == "BertTokenizer"
    print(sorted(family.name for family in load_families() if family.name in ("bert", "theirs", "module")))
print("\\n".join(str(warning.message) for warning in caught if issubclass(warning.category, RulesIgnored)))
"""


def test_rules_of_another_package(tmp_path: Path) -> None:
    """One package of rules, one module, one that does not import, one with a broken file."""
    text = HEAD.replace('"x"', '"theirs"').replace("A = ", "Their = ").replace("AWithHead", "TheirHead")
    text += rule('torch = "a"\npaddle = "b"\nas = "tensor"').removeprefix(HEAD)
    bert = text.replace('"theirs"', '"bert"').replace("Their =", "BertModel =").replace('"T"', '"NotBert"')
    for package in ("theirs/rules", "broken", "holder"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "theirs" / "__init__.py").touch()
    (tmp_path / "theirs" / "rules" / "__init__.py").touch()
    (tmp_path / "theirs" / "rules" / "theirs.toml").write_text(text, encoding="utf-8")
    (tmp_path / "theirs" / "rules" / "bert.toml").write_text(bert, encoding="utf-8")
    (tmp_path / "broken" / "__init__.py").touch()
    (tmp_path / "broken" / "wrong.toml").write_text("x = 1", encoding="utf-8")
    (tmp_path / "holder" / "__init__.py").touch()
    (tmp_path / "holder" / "module.py").touch()
    (tmp_path / "holder" / "module.toml").write_text(
        text.replace('"theirs"', '"module"').replace("Their", "Module"), encoding="utf-8"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n", encoding="utf-8")
    points = "[pphub.rules]\na = theirs.rules\nb = no_such_package\nc = broken\nd = holder.module\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    output = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    first, *rest = output.stdout.splitlines()
    assert first == "['bert', 'bert', 'module', 'theirs']"
    assert any("'b' (no_such_package)" in line and "ModuleNotFoundError" in line for line in rest)
    assert any("wrong.toml" in line and "unknown key 'x'" in line for line in rest)


def test_a_value_may_be_calculated_and_a_default_is_judged_too() -> None:
    text = '[config.only]\ninner = ["4 * d"]\nwindow = []\n[config.default]\nwindow = 9\n'
    family = parse_family(HEAD + text + '[config.copy]\ntheta = "rope.theta"\n')
    config = {"d": 2, "inner": 8, "window": None, "rope": {"theta": 1e6}}
    assert translate_config(family, "A", config).values["theta"] == 1e6
    assert "theta" not in translate_config(family, "A", {"window": None}).values
    with pytest.raises(ConversionFailed, match="inner is 9"):
        translate_config(family, "A", {**config, "inner": 9})
    with pytest.raises(ConversionFailed, match="window is 9"):
        translate_config(family, "A", {"d": 2})


def test_rules_may_be_there_for_some_configs_alone() -> None:
    shared = rule('torch = ["a", "b"]\npaddle = "a"\nas = "tensor"\nwhen = { tied = true }')
    own = rule('torch = "b"\npaddle = "b"\nas = "matrix"\nwhen = { tied = [false] }').removeprefix(HEAD)
    family = parse_family(shared + own + "[config.default]\ntied = true\n")
    cases: list[tuple[dict[str, object], str]] = [({}, "a"), ({"tied": True}, "a"), ({"tied": False}, "b")]
    for config, expected in cases:
        (only,) = family.narrowed(config).rules
        assert only.paddle[0][0] == expected
    with pytest.raises(ValueError, match="both know 'b' of torch"):
        parse_family(shared + own.replace("when = { tied = [false] }", ""))


def test_rules_may_be_there_for_some_layers_alone() -> None:
    one = rule('torch = "a.{n}"\npaddle = "a.{n}"\nas = "tensor"\nwhen = { "kinds.{n}" = "x" }')
    other = rule('torch = "b.{n}"\npaddle = "b.{n}"\nas = "tensor"\nwhen = { "kinds.{n}" = ["y", "z"] }')
    family = parse_family(one.replace('"layers"', '"kinds"') + other[len(HEAD) :])
    config = {"kinds": ["y", "x", "z"]}
    counts = count_layers(family, "A", config)
    assert counts == {"n": 3}
    there = family.narrowed(config).instances("A", counts)
    assert [fill(each.paddle[0][0], index) for each, index in there] == ["a.1", "b.0", "b.2"]


@pytest.mark.parametrize(("count", "expected"), [("outer", 2), ("outer * inner", 6), ("inner.1", 2)])
def test_lists_count_as_many_as_they_are_long(count: str, expected: int) -> None:
    text = rule('torch = "a.{n}"\npaddle = "a.{n}"\nas = "tensor"')
    family = parse_family(text.replace('"layers"', f'"{count}"'))
    assert count_layers(family, "A", {"outer": [8, 9], "inner": [[], [1, 1], 5]}) == {"n": expected}


def test_a_constant_may_be_a_number() -> None:
    (only,) = parse_family(rule('paddle = "a"\ndrop = "x"\nvalue = -1e9\nshape = []\ndtype = "float32"')).rules
    assert only.constant is not None
    assert make_constant(only.constant.value, (), "float32") == np.float32(-1e9)


def test_a_roberta_of_paddles_becomes_a_roberta() -> None:
    """Other families of torch are RoBERTa in Paddle, too; old configs of Paddle do not name the family."""
    assert find_paddle_family({"architectures": ["RobertaModel"]})[1] == "RobertaModel"
    assert find_paddle_family({"architectures": ["RobertaModel"], "model_type": "xlm-roberta"})[1] == "XLMRobertaModel"


def test_two_counters_are_not_mixed_up() -> None:
    """The second layer of the first group is not the first layer of the second."""
    text = (
        HEAD.replace('n = "layers"', "g = 2\ni = 2")
        + '[[base]]\ntorch = "{g}.{i}.a"\npaddle = "{g}.{i}.b"\nas = "tensor"'
    )
    tensors = {name: fake(name, 1) for name in ("0.0.a", "0.1.a", "1.0.a", "1.1.a")}
    plan = make_plan(Request(parse_family(text), "A", "paddle", {}), tensors)
    assert [name for move in plan.moves for name in move.sources] == list(tensors)
    made = [name for move in plan.moves for part in move.outputs for name in part]
    assert made == [name.replace("a", "b") for name in tensors]


def test_a_head_may_be_called_as_the_base_of_another_class_is() -> None:
    """Where torch has a layer in the head that is the pooler of Paddle's base model."""
    base = rule('torch = "pooler"\npaddle = "pooler"\nas = "linear"\nfor = ["A"]')
    head = '[[head]]\ntorch = "dense"\npaddle = "x.pooler"\nas = "linear"\nfor = ["AWithHead"]\n'
    family = parse_family(base + head)
    for architecture, expected in (("A", "pooler.weight"), ("AWithHead", "dense.weight")):
        found = Table(family, architecture, "paddle").find("x.pooler.weight")
        assert found is not None
        assert found.rule.label == expected


def test_the_epsilon_is_a_key() -> None:
    family = parse_family('epsilon = "layer_norm_eps"\nfixed_epsilon = 1e-5' + HEAD)
    assert family.epsilon == "layer_norm_eps"
    assert family.fixed_epsilon == {"A": 1e-5, "AWithHead": 1e-5}
    with pytest.raises(ValueError, match="1e-12 is no name"):
        parse_family("epsilon = 1e-12" + HEAD)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"architectures": ["GPT2Model"], "n_embd": 8, "activation_function": "gelu"}, "activation_function is 'gelu'"),
        ({"architectures": ["GPT2LMHeadModel"], "n_embd": 8, "tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"architectures": ["OPTModel"], "hidden_size": 8, "_remove_final_layer_norm": True}, "final_layer_norm"),
        ({"architectures": ["LlamaModel"], "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"architectures": ["LlamaModel"], "rope_parameters": {"rope_type": "llama3"}}, "rope_type is 'llama3'"),
        (
            {"architectures": ["LlamaModel"], "head_dim": 3, "hidden_size": 8, "num_attention_heads": 4},
            "head_dim is 3",
        ),
        ({"architectures": ["MistralModel"], "sliding_window": 4096}, "sliding_window is 4096"),
        ({"architectures": ["MistralModel"]}, "sliding_window is 4096"),
        ({"architectures": ["FalconModel"], "new_decoder_architecture": True}, "new_decoder_architecture is True"),
        ({"architectures": ["T5Model"], "feed_forward_proj": "gelu"}, "feed_forward_proj is 'gelu'"),
        ({"architectures": ["CLIPModel"], "text_config": {"layer_norm_eps": 1e-6}}, "text_config.layer_norm_eps"),
        ({"architectures": ["DPTModel"], "is_hybrid": True}, "is_hybrid is True"),
        ({"architectures": ["T5Model"], "relative_attention_max_distance": 20}, "max_distance is 20.* express 128"),
        ({"architectures": ["MT5EncoderModel"], "relative_attention_max_distance": 64}, "max_distance is 64"),
        ({"architectures": ["T5Model"], "dense_act_fn": "gelu_new"}, "dense_act_fn is 'gelu_new'.* express 'relu'"),
        ({"architectures": ["MT5Model"], "dense_act_fn": "relu"}, "dense_act_fn is 'relu'.* express 'gelu_new'"),
        ({"architectures": ["T5Model"], "is_gated_act": True}, "is_gated_act is True"),
        ({"architectures": ["DebertaV2Model"], "hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"architectures": ["DebertaV2Model"], "conv_kernel_size": 3}, "conv_act is 'tanh'"),
        ({"architectures": ["DistilBertForMaskedLM"], "activation": "relu"}, "'relu'; .* DistilBertForMaskedLM can"),
        ({"architectures": ["MPNetForMaskedLM"], "hidden_act": "relu"}, "'relu'; .* MPNetForMaskedLM can"),
        ({"architectures": ["MPNetModel"], "pad_token_id": 0}, "pad_token_id is 0"),
        ({"architectures": ["BlenderbotSmallModel"], "scale_embedding": True}, "scale_embedding is True"),
        (
            {"architectures": ["GPT2ForSequenceClassification"], "n_embd": 8, "pad_token_id": 7},
            "eos_token_id is 50256 and pad_token_id is 7; PaddleNLP's GPTForSequenceClassification",
        ),
        ({"architectures": ["ErnieModel"], "pad_token_id": None}, "pad_token_id is null, which .* cannot express"),
        ({"architectures": ["RobertaModel"], "pad_token_id": None}, "pad_token_id is null"),
    ],
)
def test_what_paddles_class_computes_otherwise_is_refused(config: dict[str, object], why: str) -> None:
    with pytest.raises(ConversionFailed, match=why):
        translate_config(*find_family(config), config)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["DistilBertModel"], "activation": "relu"},
        {"architectures": ["MPNetModel"], "hidden_act": "relu"},
        {"architectures": ["DebertaV2Model"], "hidden_size": 8, "conv_act": "tanh"},  # without a convolution
        {"architectures": ["DebertaV2Model"], "hidden_size": 8, "conv_kernel_size": 3, "conv_act": "gelu"},
        {"architectures": ["T5Model"], "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new"},
        {"architectures": ["GPT2Model"], "n_embd": 8, "pad_token_id": 7},
        {"architectures": ["GPT2ForSequenceClassification"], "n_embd": 8, "pad_token_id": None},
    ],
)
def test_what_is_refused_elsewhere_may_be_right_here(config: dict[str, object]) -> None:
    """What a head does not do like torch, or a layer that is not there, is no reason to refuse the others."""
    family, architecture = find_family(config)
    assert translate_config(family, architecture, config).values["architectures"] == [
        family.architectures[architecture]
    ]


def test_null_has_a_word_in_paddle_and_comes_back() -> None:
    config = {"architectures": ["BertModel"], "pad_token_id": None}
    family, architecture = find_family(config)
    there = translate_config(family, architecture, config)
    assert (there.values["pad_token_id"], there.replaced["pad_token_id"]) == (-1, None)
    back = translate_back(family, architecture, there.values)
    assert back.values["pad_token_id"] is None
    assert "pad_token_id" not in translate_config(family, architecture, {"architectures": ["BertModel"]}).values


def test_an_epsilon_that_only_our_loader_gives_is_told() -> None:
    def notes(architecture: str, epsilon: float) -> tuple[str, ...]:
        config: dict[str, object] = {"architectures": [architecture], "layer_norm_eps": epsilon}
        return translate_config(*find_family(config), config).notes

    (note,) = notes("AlbertForMaskedLM", 1e-12)
    assert "unmodified PaddleNLP" in note
    assert "AlbertForMaskedLM have the epsilon 1e-05, not 1e-12" in note
    assert notes("AlbertForMaskedLM", 1e-5) == notes("AlbertModel", 1e-12) == notes("BertModel", 1e-3) == ()
    assert notes("ErnieModel", 1e-12) == ()
    assert len(notes("ErnieModel", 1e-5)) == 1


def test_a_key_may_be_in_a_table_or_a_list() -> None:
    config = {"audio": {"depths": [2, 6]}}
    assert [lookup(config, f"audio.depths.{part}") for part in ("0", "1", "2", "x")] == [2, 6, None, None]
