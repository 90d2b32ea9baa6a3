"""Writes the tables of PaddleNLP's built-in names.

::

    python docs/builtin_names.py            write them anew from the installed paddlenlp
    python docs/builtin_names.py --check    exit 1 if what is shipped differs

``plugins/pphub_plugins/data/builtin_names.json``, what there is to download and to make:

PaddleNLP keeps these facts in class attributes, so they can only be read where it is installed; pphub needs them
without it. A name is built in if a class of ``paddlenlp.transformers`` has a URL of weights for it. Of each:

* ``model``: the class that ``AutoModel`` makes of the name, or the base class where ``AutoModel`` does not know it;
* ``config``: the whole config, which exists nowhere but in the wheel. Missing for funnel, whose configs are URLs
  among the files, and for ten names that PaddleNLP has weights of and no config;
* ``tokenizer`` and ``tokenizer_config``: likewise; a few names have none;
* ``files``: by the name a file must have on the disk, the URL, as PaddleNLP writes it.

``hub/pphub/data/by_name.json``, what PaddleNLP makes of a name beside reading the usual files. ``written`` are the
files its tokenizers write beside those they have read. Of each name

* ``files``, if a tokenizer knows the name: by the usual name, the one PaddleNLP looks for, where that is another;
* ``config``, if we have rules for the family: the values PaddleNLP takes, whatever ``config.json`` says.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "plugins" / "pphub_plugins" / "data" / "builtin_names.json"
BY_NAME = ROOT / "hub" / "pphub" / "data" / "by_name.json"
RULES = ROOT / "hub" / "pphub" / "conversion" / "rules"
WEIGHTS = "model_state.pdparams"
# Files with fixed names, which no tokenizer lists among its own; the second line, those that have URLs.
WRITTEN = ("added_tokens.json", "chat_template.json", "special_tokens_map.json", "tokenizer_config.json")
FIXED = {"added_tokens_file": "added_tokens.json", "tokenizer_config_file": "tokenizer_config.json"}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["PPNLP_HOME"] = folder  # PaddleNLP makes folders in it when it is imported
        texts = {TABLE: render(read_paddlenlp(), "models"), BY_NAME: render(read_by_name(), "names")}
    if arguments == ["--check"]:
        wrong = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in texts:
            print(f"{path.name} is {'NOT as' if path in wrong else 'as'} the installed paddlenlp says")
        return 1 if wrong else 0
    if arguments:
        print(__doc__)
        return 2
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path}: {len(text.encode())} bytes")
    return 0


def read_paddlenlp() -> dict[str, Any]:
    """The table."""
    import paddlenlp.transformers as library

    models = subclasses(library.PretrainedModel)
    tokenizers = [kind for kind in subclasses(library.PretrainedTokenizer) if "Fast" not in kind.__name__]
    names = {name for kind in models for name in weight_urls(kind)}
    return {
        "paddlenlp": version("paddlenlp"),
        "tokenizer_files": sorted(name for name in own_names(tokenizers) if not name.endswith(".pickle")),
        "models": {name: entry(name, models, tokenizers) for name in sorted(names)},
    }


def own_names(tokenizers: list[Any]) -> set[str]:
    """What tokenizers call the files they are made of."""
    return {name for kind in tokenizers for name in kind.resource_files_names.values()}


def read_by_name() -> dict[str, Any]:
    """The other table."""
    import paddlenlp.transformers as library

    models = subclasses(library.PretrainedModel)
    tokenizers = [kind for kind in subclasses(library.PretrainedTokenizer) if "Fast" not in kind.__name__]
    names = {name for kind in models for name in weight_urls(kind)}
    names |= {name for kind in tokenizers for name in kind.pretrained_init_configuration}
    found = {name: by_name(name, models, tokenizers) for name in sorted(names)}
    return {
        "paddlenlp": version("paddlenlp"),
        "written": sorted({*own_names(tokenizers), *WRITTEN}),
        "names": {name: facts for name, facts in found.items() if facts},
    }


def by_name(name: str, models: list[Any], tokenizers: list[Any]) -> dict[str, Any]:
    """What the other table says of one name."""
    facts: dict[str, Any] = {}
    if tokenizer := tokenizer_class(name, tokenizers):
        urls = files(tokenizer, name, tokenizer.resource_files_names)
        looked_for = {path: url.rpartition("/")[2] for path, url in urls.items()}
        facts["files"] = {path: called for path, called in looked_for.items() if called != path}
    for kind in {kind.config_class for kind in models if has_rules(kind)}:
        if name in kind.pretrained_init_configuration:
            config = kind(**kind.pretrained_init_configuration[name]).to_dict()
            known = {key: config[key] for key in inspect.signature(kind.__init__).parameters if key in config}
            # Reformer's defaults are tuples, which a config.json has as lists.
            facts["config"] = {key: list(each) if isinstance(each, tuple) else each for key, each in known.items()}
    return facts


def has_rules(kind: Any) -> bool:
    """Whether we convert the family of a model class, so that any hub's checkpoint may be called like its names."""
    return (RULES / f"{kind.__module__.split('.')[2]}.toml").is_file()


def subclasses(root: Any) -> list[Any]:
    """All classes below, of ``paddlenlp.transformers`` only: its experiments know names nobody can load."""
    found: dict[str, Any] = {}
    waiting = [root]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("paddlenlp.transformers"):
            found[f"{kind.__module__}.{kind.__name__}"] = kind
    return [found[name] for name in sorted(found)]


def weight_urls(kind: Any) -> dict[str, str]:
    """The built-in names of a class."""
    return kind.pretrained_resource_files_map.get("model_state", {})


def entry(name: str, models: list[Any], tokenizers: list[Any]) -> dict[str, Any]:
    """What the table says of one name."""
    kind, model = model_class(name, models)
    found: dict[str, Any] = {"model": model, "files": files(kind, name, {"model_state": WEIGHTS})}
    owners = [owner for owner in (kind.config_class, kind) if owner is not None]
    configs = [
        owner.pretrained_init_configuration[name] for owner in owners if name in owner.pretrained_init_configuration
    ]
    if configs and configs[0]:  # funnel's are empty, and are URLs of legacy configs among the files
        found["config"] = configs[0]
    if tokenizer := tokenizer_class(name, tokenizers):
        found["tokenizer"] = tokenizer.__name__
        found["tokenizer_config"] = tokenizer_config(tokenizer, name)
        found["files"] |= files(tokenizer, name, tokenizer.resource_files_names)
    return found


def model_class(name: str, models: list[Any]) -> tuple[Any, str]:
    """The class that owns the name, and what it is called."""
    from paddlenlp.transformers.auto.modeling import AutoModel

    owners = [kind for kind in models if name in weight_urls(kind)]
    for names, called in AutoModel._pretrained_model_dict.items():
        if name in names:
            # ErnieGenModel is no class of that name, but another name of one.
            kinds = [kind for kind in owners if kind.__name__ == called] or [k for k in owners if is_base(k)]
            return kinds[0], called
    base = min((kind for kind in owners if is_base(kind)), key=lambda kind: (len(kind.__name__), kind.__name__))
    return base, base.__name__


def is_base(kind: Any) -> bool:
    return getattr(kind, "base_model_class", None) is kind


def tokenizer_class(name: str, tokenizers: list[Any]) -> Any:
    """The class that AutoTokenizer makes of the name, else one that knows it, else None."""
    from paddlenlp.transformers import AutoTokenizer

    for names, kinds in AutoTokenizer._tokenizer_mapping.items():
        if name in names:
            return next(kind for kind, is_fast in kinds if not is_fast)
    return next((kind for kind in tokenizers if name in kind.pretrained_init_configuration), None)


def tokenizer_config(kind: Any, name: str) -> dict[str, Any]:
    """The arguments PaddleNLP gives the tokenizer of a built-in name, beside its files."""
    config = dict(kind.pretrained_init_configuration[name])
    longest = kind.max_model_input_sizes.get(name)
    if isinstance(longest, (int, float)):  # from_pretrained adds it for a name, but not for a folder
        config["model_max_length"] = min(config.get("model_max_length", longest), longest)
    # XLM's id2lang has numbers for keys; PaddleNLP's own save_pretrained makes texts of them as well.
    return {key: by_text(value) if isinstance(value, dict) else value for key, value in config.items()}


def by_text(value: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): inner for key, inner in value.items()}


def files(kind: Any, name: str, on_disk: dict[str, str]) -> dict[str, str]:
    """URLs by the name on the disk; a tokenizer may have none for a file it can do without."""
    called = {**FIXED, **kind.resource_files_names, **on_disk}
    urls = {kind_of: named.get(name) for kind_of, named in kind.pretrained_resource_files_map.items()}
    return {called[kind_of]: url for kind_of, url in urls.items() if url}


def render(table: dict[str, Any], names: str) -> str:
    """The table as JSON, a line for each fact of each of its names, so that a change can be reviewed."""
    entries = []
    for name, facts in table[names].items():
        lines = ",\n".join(f'  "{key}": {compact(facts[key])}' for key in sorted(facts))
        entries.append(f"{compact(name)}: {{\n{lines}\n }}")
    head = "".join(f'"{key}": {compact(table[key])},\n' for key in table if key != names)
    text = f'{{{head}"{names}": {{\n {f",{chr(10)} ".join(entries)}\n}}}}\n'
    if (read := json.loads(text)) != table:
        wrong = [name for name in table[names] if read[names][name] != table[names][name]]
        raise ValueError(f"PaddleNLP's table holds something that JSON cannot: {wrong}")
    return text


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
