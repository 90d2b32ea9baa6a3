"""A conversion is proved again from its inputs: whatever was changed since is found, also in a forged record."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
from hubs import Hub, tiny_bert
from pphub.checkpoint.folder import read_weights
from pphub.checkpoint.pdparams import PdparamsWriter, read_pdparams
from pphub.cli import main
from pphub.conversion.job import make_key
from pphub.conversion.proof import Inputs, prove

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pphub.checkpoint.tensor import Tensor

WEIGHTS = "model_state.pdparams"
RECORD = "conversion.json"
QUERY = "bert.encoder.layers.0.self_attn.q_proj.weight"
KEY = "bert.encoder.layers.0.self_attn.k_proj.weight"
TIED = "cls.predictions.decoder_weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    settings = berts.config()
    return berts.write_bin(tmp_path / "model", settings, berts.state(settings))


@pytest.fixture(params=["out", "cache"])
def converted(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> Path:
    """A conversion of the model, in a folder of the user's or in the cache."""
    return pphub.convert(model, tmp_path / "converted" if request.param == "out" else None)


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(folder: Path | str | None, *options: str, code: int) -> Any:
        capsys.readouterr()
        # A folder in the cache is verified with all the cache.
        named = [] if folder is None or "hub/converted" in str(folder) else [str(folder)]
        assert main(["verify", *named, *options, "--json"]) == code, capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    return run


def read(folder: Path) -> Any:
    return json.loads((folder / RECORD).read_bytes())


def write(folder: Path, record: object) -> None:
    (folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


def overwrite(path: Path, content: bytes | bytearray) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def forge(folder: Path) -> None:
    """Make the record fit the files, in every number and hash there is."""
    record = read(folder)
    for name in record["files"]:
        content = (folder / name).read_bytes()
        record["files"][name] = hashlib.sha256(content).hexdigest()
        if "sizes" in record:
            record["sizes"][name] = len(content)
    record["output"] |= {"size": (folder / WEIGHTS).stat().st_size, "sha256": record["files"][WEIGHTS]}
    try:
        tensors = read_weights(folder / WEIGHTS)
    except pphub.errors.PphubError:
        tensors = {}
    entries = {entry["name"]: entry for entry in record["tensors"]}
    if tensors:
        like = record["tensors"][0]
        record["tensors"] = [{**entries.get(name, like), **entry(tensor)} for name, tensor in tensors.items()]
    write(folder, record)


def entry(tensor: Tensor) -> dict[str, object]:
    content = tensor.read().tobytes()
    place = tensor.start + tensor.offset * tensor.itemsize
    about = {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    return {**about, "offset": place, "length": len(content), "sha256": hashlib.sha256(content).hexdigest()}


# -- what is right ---------------------------------------------------------------------------------------------


def test_what_was_not_touched_is_proved(converted: Path, verify: Callable[..., Any]) -> None:
    document = verify(converted, code=0)
    assert document["bad"] == []
    (proof,) = document["conversions"]
    assert (proof["verdict"], proof["reason"], proof["differences"]) == ("proved", None, [])
    assert proof["folder"] == str(converted)


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"dtype": "bfloat16"}, {"to": "torch"}])
def test_every_kind_of_conversion_is_proved(
    model: Path, tmp_path: Path, verify: Callable[..., Any], options: dict[str, Any]
) -> None:
    source = pphub.convert(model, tmp_path / "paddle") if "to" in options else model
    folder = pphub.convert(source, tmp_path / "out", **options)
    assert verify(folder, code=0)["conversions"][0]["verdict"] == "proved"
    weights = next(path for path in folder.iterdir() if path.name in {WEIGHTS, "model.safetensors"})
    tensor = max(read_weights(weights).values(), key=lambda tensor: tensor.nbytes)
    content = bytearray(weights.read_bytes())
    content[tensor.start + tensor.length // 2] ^= 1
    weights.write_bytes(content)
    assert f"tensor {tensor.name} has other values than those made of" in verify(folder, code=1)["bad"][0]["problem"]


def test_shards_and_single_files_are_proved(model: Path, tmp_path: Path, verify: Callable[..., Any]) -> None:
    import torch
    from safetensors.torch import save_file

    assert verify(pphub.convert(model / "pytorch_model.bin", tmp_path / "one"), code=0)["bad"] == []
    state = {name: value.clone() for name, value in torch.load(model / "pytorch_model.bin").items()}
    (model / "pytorch_model.bin").unlink()
    shards = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(state)}
    for shard in set(shards.values()):
        save_file({name: state[name] for name in state if shards[name] == shard}, model / shard)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    document = verify(pphub.convert(model, tmp_path / "two"), code=0)
    assert document["conversions"][0]["verdict"] == "proved"


# -- what was changed ------------------------------------------------------------------------------------------


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the weights again; ``change`` may alter the dict of names → (dtype, array)."""
    values: dict[str, Any] = {name: (t.dtype, t.read()) for name, t in read_pdparams(folder / WEIGHTS).items()}
    change(values)
    (folder / WEIGHTS).chmod(0o644)
    with (folder / WEIGHTS).open("wb") as stream:
        writer = PdparamsWriter(stream)
        for name, (dtype, array) in values.items():
            writer.add((name,), dtype, array)
        writer.finish()


def flip(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    tensor = read_pdparams(folder / WEIGHTS)[QUERY]
    content[tensor.start + tensor.length // 2] ^= 1
    overwrite(folder / WEIGHTS, content)


def flip_a_sign_of_zero(folder: Path) -> None:
    """What no comparison of numbers would see."""
    content = bytearray((folder / WEIGHTS).read_bytes())
    tensor = read_pdparams(folder / WEIGHTS)["bert.embeddings.layer_norm.bias"]
    content[tensor.start : tensor.start + 4] = b"\0\0\0\x80"
    overwrite(folder / WEIGHTS, content)


def swap_values(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    found = read_pdparams(folder / WEIGHTS)
    one, other = (slice(each.start, each.start + each.length) for each in (found[QUERY], found[KEY]))
    content[one], content[other] = content[other], content[one]
    overwrite(folder / WEIGHTS, content)


def rename(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    assert content.count(QUERY.encode()) == 1
    overwrite(folder / WEIGHTS, content.replace(QUERY.encode(), QUERY.replace("q_proj", "x_proj").encode()))


def pad(folder: Path) -> None:
    """A byte of the padding, which is in no tensor."""
    content = bytearray((folder / WEIGHTS).read_bytes())
    at = content.index(bytes(8) + b"0")  # zeros, and the pickle's POP
    content[at] = 7
    overwrite(folder / WEIGHTS, content)


def cut(folder: Path) -> None:
    overwrite(folder / WEIGHTS, (folder / WEIGHTS).read_bytes()[:-1000])


def replaced(name: str, value: Callable[[str, Any], tuple[str, Any]]) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, lambda values: values.update({name: value(*values[name])}))


def edit(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        content = (folder / name).read_bytes()
        assert content.count(old) == 1
        overwrite(folder / name, content.replace(old, new))

    return run


ATTACKS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a bit": (flip, WEIGHTS, f"tensor {QUERY} has other values than those made of bert.encoder.layer.0.attention.self"),
    "a sign": (flip_a_sign_of_zero, WEIGHTS, "tensor bert.embeddings.layer_norm.bias has other values"),
    "values swapped": (swap_values, WEIGHTS, f"tensor {QUERY} has other values"),
    "a name": (rename, WEIGHTS, f"tensor {QUERY} is missing; tensor "),
    "padding": (pad, WEIGHTS, "the bytes around its tensors are not those"),
    "cut off": (cut, WEIGHTS, "it cannot be read: "),
    "nothing left": (lambda folder: overwrite(folder / WEIGHTS, b""), WEIGHTS, "it cannot be read: "),
    "more at the end": (
        lambda folder: overwrite(folder / WEIGHTS, (folder / WEIGHTS).read_bytes() + b"N."),
        WEIGHTS,
        " bytes, and should have ",
    ),
    "a tensor less": (lambda folder: rewrite(folder, lambda v: v.pop(KEY)), WEIGHTS, f"tensor {KEY} is missing"),
    "a tensor more": (
        lambda folder: rewrite(folder, lambda v: v.update(new=("int64", np.arange(3)))),
        WEIGHTS,
        'tensor "new" is not of this model',
    ),
    "dtype": (replaced(QUERY, lambda _, a: ("float16", a.astype("<f2"))), WEIGHTS, f"tensor {QUERY} is float16 [16, "),
    "shape": (replaced(QUERY, lambda d, a: (d, a.reshape(-1))), WEIGHTS, f"tensor {QUERY} is float32 [256], and"),
    "not turned": (replaced(QUERY, lambda d, a: (d, a.T)), WEIGHTS, f"tensor {QUERY} has other values"),
    "not tied": (replaced(TIED, lambda d, a: (d, a)), WEIGHTS, "it has "),
    "config": (
        edit("config.json", b'"num_attention_heads": 4', b'"num_attention_heads": 8'),
        "config.json",
        "num_attention_heads is 8, and should be 4",
    ),
    "config, false for 0": (
        edit("config.json", b'"pad_token_id": 0', b'"pad_token_id": false'),
        "config.json",
        "pad_token_id is false, and should be 0",
    ),
    "config, written otherwise": (
        lambda folder: overwrite(folder / "config.json", (folder / "config.json").read_bytes() + b"\n"),
        "config.json",
        "it is written in another way",
    ),
    "vocabulary": (edit("vocab.txt", b"paddle", b"puddle"), "vocab.txt", "bytes that are not the"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_change_is_found_also_when_the_record_was_made_to_fit(
    converted: Path, verify: Callable[..., Any], attack: str
) -> None:
    change, path, problem = ATTACKS[attack]
    whole = {each.name: each.read_bytes() for each in converted.iterdir()}
    change(converted)
    honest = verify(converted, code=1)
    assert [bad["path"] for bad in honest["bad"]] == [path]
    assert problem in honest["bad"][0]["problem"]
    forge(converted)
    assert verify(converted, "--quick", code=0)["conversions"] == []  # the hashes fit
    bad = {one["path"]: one["problem"] for one in verify(converted, code=1)["bad"]}
    assert bad.keys() == {path, RECORD}
    assert problem in bad[path]
    for name, content in whole.items():
        overwrite(converted / name, content)
    assert verify(converted, code=0)["bad"] == []


def swap_offsets(record: Any) -> None:
    one, other = (next(e for e in record["tensors"] if e["name"] == name) for name in (QUERY, KEY))
    for field in ("offset", "sha256"):
        one[field], other[field] = other[field], one[field]


LIES: dict[str, tuple[Callable[[Any], object], str]] = {
    "offsets swapped": (swap_offsets, f"tensor {QUERY}: offset is "),
    "an offset": (lambda r: r["tensors"][3].update(offset=64), ": offset is 64, and should be "),
    "a name": (lambda r: r["tensors"][3].update(name="\x1b[31m"), 'tensor "\\u001b[31m" is not of this model; tensor '),
    "a source": (lambda r: r["tensors"][3].update(sources=["x"]), ': sources is ["x"], and should be '),
    "a tensor less": (lambda r: r["tensors"].pop(3), " is not in it"),
    "a tensor twice": (lambda r: r["tensors"].append(r["tensors"][3]), "or there twice"),
    "no tensor": (lambda r: r["tensors"].append(7), "or there twice"),
    "order": (lambda r: r["tensors"].reverse(), "in another order than in the file"),
    "dropped": (lambda r: r["dropped"].append({"name": "w", "reason": "why not"}), "dropped is not what"),
    "absent": (lambda r: r.update(absent=["pooler"]), "absent is not what"),
    "original": (lambda r: r["config"]["original"].update(vocab_size=3), "config: original is "),
    "a field less": (lambda r: r.pop("architecture"), "architecture is not what"),
    "a field more": (lambda r: r.update(epsilon=0.5), "epsilon is not what"),
    "class": (lambda r: r["architecture"].update(paddle="BertModel"), 'paddle is "BertModel", and should be '),
    "format": (lambda r: r.update(format=True), "format is not what"),
    "dtype": (lambda r: r["options"].update(dtype="float16"), "its key is not that of the inputs"),
    "an input": (lambda r: r["inputs"][0].update(sha256="0" * 64), "its key is not that of the inputs"),
    "an input less": (lambda r: r["inputs"].pop(), "its key is not that of the inputs"),
    "rules": (lambda r: r["rules"].update(sha256="0" * 64), "its key is not that of the inputs"),
    "the key": (lambda r: r.update(key="0" * 40), "its key is not that of the inputs"),
    "elsewhere": (lambda r: r["inputs"][0].update(file="../secret"), "makes no sense"),
    "absolute": (lambda r: r["inputs"][0].update(file="/etc/passwd"), "makes no sense"),
    "no dtype": (lambda r: r["options"].update(dtype=["float32"]), "makes no sense"),
    "two origins": (lambda r: r["inputs"][0].update(repo="other"), "does not say what was converted"),
    "no inputs": (lambda r: r.update(inputs=[]), "does not say what was converted"),
    "no rules": (lambda r: r.pop("rules"), "does not say what was converted"),
    "null": (lambda r: r.update(options=None), "does not say what was converted"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_record_is_found(converted: Path, verify: Callable[..., Any], lie: str) -> None:
    record = read(converted)
    change, problem = LIES[lie]
    change(record)
    write(converted, record)
    (bad,) = verify(converted, code=1)["bad"]
    assert bad["path"] == RECORD
    assert problem in bad["problem"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"{}", b"\xff", b'{"inputs": 1}', b"[" * 99999, None])
def test_a_record_that_is_none(converted: Path, verify: Callable[..., Any], content: bytes | None) -> None:
    if content is None:
        content = (converted / RECORD).read_bytes()[:-50]
    overwrite(converted / RECORD, content)
    document = verify(converted, code=1)
    assert [one["path"] for one in document["bad"]] == [RECORD]
    assert document["conversions"] == []


def test_other_weights_beside_it(model: Path, tmp_path: Path, verify: Callable[..., Any]) -> None:
    """PaddleNLP prefers some formats; in the cache nobody puts any."""
    cached, out = pphub.convert(model), pphub.convert(model, tmp_path / "out")
    for folder in (cached, out):
        shutil.copyfile(model / "pytorch_model.bin", folder / "model.safetensors")
        (folder / "notes.txt").write_text("mine")
    (bad,) = verify(cached, code=1)["bad"]
    assert (bad["path"], bad["problem"]) == ("model.safetensors", "it is not of this conversion, and might be loaded")
    assert verify(out, code=0)["bad"] == []


def test_what_paddlenlp_might_load_instead_is_told(
    model: Path, tmp_path: Path, verify: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = pphub.convert(model, tmp_path / "out")
    assert verify(out, code=0)["beside"] == []
    for name in ("model.safetensors", "model_config.json", "notes.txt"):
        (out / name).write_text("mine")
    assert verify(out, code=0)["beside"] == ["model.safetensors", "model_config.json"]
    assert main(["verify", str(out)]) == 0
    assert "model.safetensors: it is not of this conversion, and PaddleNLP might load" in capsys.readouterr().out


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which would be ended if it waited for a pipe."""
    command = [sys.executable, "-m", "pphub", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_the_place_of_the_record_is_not_waited_for(converted: Path, model: Path) -> None:
    (converted / RECORD).unlink()
    os.mkfifo(converted / RECORD)
    in_cache = "hub/converted" in str(converted)
    verified = run("verify", *([] if in_cache else [converted]))
    assert verified.returncode == 1
    assert f"{RECORD}: it cannot be read, so what the conversion holds is not known" in verified.stdout
    again = run("convert", model, *([] if in_cache else ["--out", converted]))
    assert again.returncode == (0 if in_cache else 2), again.stderr
    if in_cache:
        assert (converted / RECORD).is_file()
    else:
        assert "holds files that are no conversion of pphub's" in again.stderr


def test_a_vocabulary_that_has_grown_without_end(converted: Path, verify: Callable[..., Any]) -> None:
    (converted / "vocab.txt").chmod(0o644)
    os.truncate(converted / "vocab.txt", 40 << 20)
    tracemalloc.start()
    (bad,) = verify(converted, code=1)["bad"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20  # it is not read as a whole
    assert bad["path"] == "vocab.txt"
    assert "it has 41943040 bytes that are not the " in bad["problem"]


# -- what cannot be proved ---------------------------------------------------------------------------------------


def test_inputs_that_are_gone(converted: Path, model: Path, verify: Callable[..., Any]) -> None:
    (model / "vocab.txt").unlink()
    document = verify(converted, code=0)
    assert document["bad"] == []
    (proof,) = document["conversions"]
    assert (proof["verdict"], proof["reason"]) == ("unproved", f"its inputs are missing: vocab.txt of {model} is gone")
    shutil.rmtree(model)
    assert verify(converted, code=0)["conversions"][0]["reason"].startswith("its inputs are missing: config.json, ")
    flip(converted)
    (bad,) = verify(converted, code=1)["bad"]  # what the hashes say stays
    assert bad["problem"].startswith("its sha256 is ")


@pytest.mark.parametrize("path", ["config.json", "pytorch_model.bin", "vocab.txt"])
def test_inputs_that_were_changed(converted: Path, model: Path, verify: Callable[..., Any], path: str) -> None:
    """A conversion in the cache is still that of its key; a folder is asked whether it is that of its inputs."""
    (model / path).write_bytes(b"garbage")
    in_cache = "hub/converted" in str(converted)
    document = verify(converted, code=0 if in_cache else 1)
    reason = f"its inputs are others by now: {path} of {model}"
    assert (document["conversions"][0]["verdict"], document["conversions"][0]["reason"]) == ("changed", reason)
    assert [(one["kind"], one["problem"]) for one in document["bad"]] == ([] if in_cache else [("outdated", reason)])


def remade(folder: Path, **rules: object) -> None:
    """Let the record say that other rules made it, with a key that fits."""
    record = read(folder)
    record["rules"] |= {"version": 0, "sha256": "0" * 64, **rules}
    files = {one["file"]: one["sha256"] for one in record["inputs"]}
    record["key"] = make_key(files, record["rules"]["sha256"], record["options"]["dtype"], record["options"]["to"])
    write(folder, record)


def test_other_rules(model: Path, tmp_path: Path, verify: Callable[..., Any]) -> None:
    folder = pphub.convert(model, tmp_path / "out")
    remade(folder)
    (proof,) = verify(folder, code=0)["conversions"]
    assert proof["verdict"] == "proved"
    assert "version 0 (00000000) of the rules for bert; it is compared with what pphub" in proof["reason"]
    flip(folder)
    forge(folder)
    document = verify(folder, code=1)
    assert {(one["path"], one["kind"]) for one in document["bad"]} == {(WEIGHTS, "outdated"), (RECORD, "outdated")}
    assert f"tensor {QUERY} has other values" in document["bad"][0]["problem"]
    assert "(made with pphub" in document["bad"][0]["problem"]


def test_another_version(converted: Path, verify: Callable[..., Any]) -> None:
    record = read(converted)
    write(converted, {**record, "pphub": "0.0.1"})
    assert verify(converted, code=0)["conversions"][0]["reason"].startswith("made with pphub 0.0.1 and version ")
    flip(converted)
    forge(converted)
    assert {one["kind"] for one in verify(converted, code=1)["bad"]} == {"outdated"}


def test_another_way_of_converting(model: Path, tmp_path: Path, verify: Callable[..., Any]) -> None:
    """The same version of pphub under development."""
    folder = pphub.convert(model, tmp_path / "out")
    record = read(folder)
    files = {one["file"]: one["sha256"] for one in record["inputs"]}
    write(folder, {**record, "key": make_key(files, record["rules"]["sha256"], None, "paddle", 1)})
    assert "in another way than that of today" in verify(folder, code=0)["conversions"][0]["reason"]
    (folder / "vocab.txt").unlink()
    (bad,) = verify(folder, code=1)["bad"]
    assert (bad["path"], bad["kind"], bad["problem"]) == ("vocab.txt", "missing", "it is gone")


def test_rules_that_are_gone(model: Path, tmp_path: Path, verify: Callable[..., Any]) -> None:
    folder = pphub.convert(model, tmp_path / "out")
    config = model / "config.json"
    config.write_text(config.read_text().replace("BertForPreTraining", "NobodysModel"))
    record = read(folder)
    (entry,) = (one for one in record["inputs"] if one["file"] == "config.json")
    entry["sha256"] = hashlib.sha256(config.read_bytes()).hexdigest()
    write(folder, record)
    remade(folder)
    (proof,) = verify(folder, code=0)["conversions"]
    assert proof["verdict"] == "unproved"
    assert "there are no rules for it any more: there are no conversion rules for this model" in proof["reason"]
    remade(folder, **record["rules"])
    assert "by the same rules its inputs cannot be converted" in verify(folder, code=1)["bad"][0]["problem"]


def test_a_folder_that_is_no_conversion(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(model)]) == 2
    assert "not a model of the cache" in capsys.readouterr().err
    converted = pphub.convert(model, model.parent / "out")
    for option in ("--quarantine", "--refetch"):
        assert main(["verify", str(converted), option]) == 2
        assert "nothing of it is moved" in capsys.readouterr().err


# -- in the cache ------------------------------------------------------------------------------------------------


def test_what_is_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pphub.convert(model, tmp_path / "out")
    capsys.readouterr()
    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("0 files damaged or missing; 1 of 1 conversion proved from the inputs\n")
    flip(folder)
    forge(folder)
    assert main(["verify", str(folder), "-q"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(f"  {RECORD}: ")[0][:29] for line in lines] == ["damaged  conversion of file:/"] * 2
    shutil.rmtree(model)
    assert main(["verify", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "could not be proved  conversion of file:" in told
    says = "0 of 1 conversion proved from the inputs, and 1 could not be: only the hashes of the record were compared\n"
    assert told.endswith(says)


def test_a_forged_conversion_is_set_aside_and_made_again(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, verify: Callable[..., Any]
) -> None:
    with Hub.open(tmp_path / "hub", {"org/bert": tiny_bert()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        converted = pphub.prepare("org/bert")
        whole = {path.name: path.read_bytes() for path in converted.iterdir()}
        assert verify("org/bert", code=0)["conversions"][0]["verdict"] == "proved"
        name = next(iter(read_pdparams(converted / WEIGHTS)))
        rewrite(converted, lambda values: values.update({name: (values[name][0], values[name][1] * 2)}))
        forge(converted)
        assert pphub.prepare("org/bert") == converted  # nothing shows
        assert {one["path"] for one in verify("org/bert", code=1)["bad"]} == {WEIGHTS, RECORD}
        hub.well()
        verify(None, "--refetch", code=0)
        assert not converted.exists()
        assert [path.name.partition(".")[0] for path in (home / "hub/quarantine").iterdir()] == [converted.name]
        assert pphub.prepare("org/bert") == converted
        assert {path.name: path.read_bytes() for path in converted.iterdir()} == whole
        assert hub.asked == []
        assert verify(None, code=0)["conversions"][0]["verdict"] == "proved"


def test_inputs_are_found_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: Callable[..., Any]
) -> None:
    """Who says that a conversion is of a model that is gone does not keep it from being proved."""
    models = {"org/bert": tiny_bert(), "org/twin": {**tiny_bert(), "README.md": b"# the same"}}
    with Hub.open(tmp_path / "hub", models) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        converted = pphub.prepare("org/bert")
        pphub.download("org/twin")
        record = read(converted)
        for each in record["inputs"]:
            each["repo"] = "org/gone"
        write(converted, record)
        assert verify(None, code=0)["conversions"][0]["verdict"] == "proved"
        flip(converted) if QUERY in read_pdparams(converted / WEIGHTS) else pad(converted)
        forge(converted)
        assert verify(None, code=1)["bad"]
        assert main(["remove", "org/twin", "org/bert", "-q"]) == 0
        reason = verify(None, code=0)["conversions"][0]["reason"]
        assert reason.startswith("its inputs are missing: hf:org/gone@")


def test_a_damaged_input_is_named_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: Callable[..., Any]
) -> None:
    with Hub.open(tmp_path / "hub", {"org/bert": tiny_bert()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        pphub.prepare("org/bert")
        weights = next(path for path in pphub.download("org/bert").iterdir() if path.suffix in {".safetensors", ".bin"})
        content = bytearray(weights.read_bytes())
        content[-8] ^= 1
        overwrite(weights.resolve(), content)
        document = verify(None, code=1)
        assert [one["path"] for one in document["bad"]] == [weights.name]
        assert document["conversions"][0]["verdict"] == "changed"
        verify(None, "--refetch", code=0)
        assert verify(None, code=0)["conversions"][0]["verdict"] == "proved"


def test_a_conversion_under_the_name_of_another(model: Path, verify: Callable[..., Any]) -> None:
    right, half = pphub.convert(model), pphub.convert(model, dtype="float16")
    shutil.rmtree(right)
    half.rename(right)
    record = read(right)
    write(right, {**record, "key": right.name})
    (bad,) = verify(right, code=1)["bad"]
    assert "its key is not that of the inputs, rules and options" in bad["problem"]
    assert pphub.convert(model) == right
    write(right, record)
    assert "its key is not that" in verify(right, code=1)["bad"][0]["problem"]


COMES_AND_GOES = """
import os, sys
from pphub.cli import main
while os.getppid() == int(sys.argv[1]) and not os.path.exists(sys.argv[2]):
    assert main(["prepare", "org/bert", "-q"]) == 0
    assert main(["remove", "org/bert", "-q"]) == 0
"""


def test_conversions_that_come_and_go_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Hub.open(tmp_path / "hub", {"org/bert": tiny_bert()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        end = tmp_path / "end"
        command = [sys.executable, "-c", COMES_AND_GOES, str(os.getpid()), str(end)]
        other = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        verdicts: list[str] = []
        try:
            while verdicts.count("proved") < 5:
                assert main(["verify", "--json"]) == 0, capsys.readouterr().out
                verdicts += [one["verdict"] for one in json.loads(capsys.readouterr().out)["conversions"]]
                assert other.poll() is None
        finally:
            end.touch()
            assert other.wait(60) == 0
        assert set(verdicts) <= {"proved", "unproved"}


# -- what it takes ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc there")
def test_no_framework_is_imported_and_memory_stays_small(tmp_path: Path) -> None:
    settings = berts.config(layers=24, hidden=256, vocab=2000)
    model = berts.write_bin(tmp_path / "model", settings, berts.state(settings))
    folder = pphub.convert(model, tmp_path / "out")
    size = (folder / WEIGHTS).stat().st_size
    assert size > 70 << 20
    code = """
import sys
from pphub.cli import main
assert main(["verify", sys.argv[1], "--json"]) == 0
heavy = {"paddle", "paddlenlp", "torch", "transformers", "safetensors", "huggingface_hub", "modelscope"}
peak = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(sorted(heavy & sys.modules.keys()), peak)
"""
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    *document, last = done.stdout.splitlines()
    assert json.loads("\n".join(document))["conversions"][0]["verdict"] == "proved"
    heavy, _, peak = last.rpartition(" ")
    assert heavy == "[]"
    assert int(peak) < size, "all of it was in memory"


def test_nothing_is_written(model: Path, tmp_path: Path) -> None:
    folder = pphub.convert(model, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (*folder.iterdir(), *model.iterdir(), folder, model)}
    assert prove(folder, Inputs([])).verdict == "proved"
    assert {path: path.stat().st_mtime_ns for path in before} == before
