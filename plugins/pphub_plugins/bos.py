"""Baidu Object Storage, where PaddleNLP keeps its own models and those of its community.

BOS serves plain files and has no listing, so the source asks with HEAD for every file that a model may have:

* one of **PaddleNLP's built-in names** (``bert-base-chinese``) has the files of a table that PaddleNLP carries in its
  code and we in ``data/builtin_names.json`` (made by ``docs/builtin_names.py``). Its weights are listed as
  ``model_state.pdparams``, whatever their URL is called. BOS stores no config for it: ``config.json`` and
  ``tokenizer_config.json`` are made from the table;
* **any other name** has the files ``{endpoint}/models/community/{name}/{file}``, of which the names are known.

What the table does not say of a built-in name, its config or its tokenizer, is looked for in the community layout, as
PaddleNLP does.

``PPNLP_ENDPOINT`` names a mirror of the bucket ``paddlenlp``. The URLs of the table are then asked of it too:
``https://bj.bcebos.com/paddlenlp/X`` and ``https://paddlenlp.bj.bcebos.com/X`` become ``{endpoint}/X``, and
``https://bj.bcebos.com/paddle-hapi/X`` becomes ``{endpoint}/paddle-hapi/X``. A mirror that lacks the weights of a
built-in name there may have them in the community layout, as ``hub serve`` does.

There are no revisions. ``latest`` is what is there now, and a commit is a hash of it, so a commit can be asked for as
long as nothing has changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from pphub.errors import Corrupt, ModelNotFound, RevisionNotFound, UsageError
from pphub.settings import without_password
from pphub.source import Digest, Listing, RemoteFile
from pphub_plugins.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


__all__ = ["BosSource"]

_DEFAULT_ENDPOINT: Final = "https://bj.bcebos.com/paddlenlp"
_LATEST: Final = "latest"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_BUCKETS: Final = re.compile(r"https?://(?:bj\.bcebos\.com/(paddlenlp|paddle-hapi)|(paddlenlp)\.bj\.bcebos\.com)/(.*)")

_WEIGHTS: Final = (
    "model_state.pdparams",
    "model_state.pdparams.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_CONFIGS: Final = ("config.json", "model_config.json", "generation_config.json")
# Of a model that `hub publish` has laid out: what it was made of, and the proof of its alignment.
_RECORDS: Final = ("conversion.json", "alignment.json")
# Beside these, the files that PaddleNLP's tokenizers call their own; the table lists them.
_TOKENIZER_FILES: Final = (
    "added_tokens.json",
    "chat_template.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_SHARD: Final = re.compile(r"\w[\w.+-]*")  # beside the index; a path would be asked for elsewhere


_CHECK_NETWORK: Final = "check the network and proxy, set PPNLP_ENDPOINT to a mirror, or use --source"
_BROKEN: Final = "a mirror may be broken: unset PPNLP_ENDPOINT, or try another source"


class BosSource:
    """Lists the models of BOS, or of the mirror in ``PPNLP_ENDPOINT``."""

    name = "bos"

    def endpoint(self) -> str:
        """``PPNLP_ENDPOINT``, else the bucket of PaddleNLP."""
        return (os.environ.get("PPNLP_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List what is there now; see :meth:`pphub.source.Source.list_files`."""
        bucket = _Bucket.at(self.endpoint())
        _check(repo, revision, bucket)
        with Probe(bucket.endpoint, bucket.authorization, "PPNLP_ENDPOINT") as client:
            found = _find(repo, bucket, client)
        commit = _commit_of(found)
        if revision and revision not in (_LATEST, commit):
            msg = f"{repo} at {bucket} is no longer what the commit {revision} stood for"
            raise RevisionNotFound(msg, hint="BOS keeps no history: leave the revision out to get what is there now")
        listed = tuple(entry.file for entry in found)
        return Listing(self.name, repo, _LATEST, commit, listed, bucket.authorization)

    def known_files(self, repo: str) -> tuple[RemoteFile, ...] | None:
        """The files of a built-in name from the table alone, or None; see :class:`pphub.source.SourceWithTable`."""
        entry = _table().names.get(repo)
        if entry is None:
            return None
        bucket = _Bucket.at(self.endpoint())
        urls = {path: bucket.place(url) for path, url in entry.files.items()}
        if not entry.has_config:
            urls["config.json"] = bucket.community(repo, "config.json")
        known = [RemoteFile(path, None, None, url) for path, url in urls.items()]
        return tuple(sorted([*known, *_made(entry, urls)], key=lambda file: file.path))


def _check(repo: str, revision: str | None, bucket: _Bucket) -> None:
    """Refuse, before anything is asked, what BOS cannot have."""
    if any(segment in {"", ".", ".."} for segment in repo.split("/")):
        raise ModelNotFound(f"{repo!r} cannot be a name at {bucket}", hint="write NAME or ORG/NAME")
    if revision and revision != _LATEST and not _COMMIT.fullmatch(revision):
        msg = f"{bucket} has no revision {revision!r} of {repo}: BOS keeps no revisions"
        raise RevisionNotFound(msg, hint="leave the revision out, or ask another source")


# ------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """What PaddleNLP knows of one of its names.

    Attributes:
        model: the class that reads the weights.
        files: URLs, as PaddleNLP writes them, by the name of the file on the disk.
        config: the whole config, or None where it is among the files or PaddleNLP has none.
        tokenizer: the class of the tokenizer, or None.
        tokenizer_config: its arguments.
    """

    model: str
    files: Mapping[str, str]
    config: Mapping[str, object] | None = None
    tokenizer: str | None = None
    tokenizer_config: Mapping[str, object] | None = None

    @property
    def has_config(self) -> bool:
        return self.config is not None or not self.files.keys().isdisjoint(_CONFIGS)


@dataclass(frozen=True, slots=True)
class _Table:
    names: Mapping[str, _BuiltIn]
    tokenizer_files: tuple[str, ...]


@lru_cache(maxsize=1)
def _table() -> _Table:
    table = json.loads((files("pphub_plugins") / "data" / "builtin_names.json").read_text(encoding="utf-8"))
    names = {name: _BuiltIn(**facts) for name, facts in table["models"].items()}
    return _Table(names, (*_TOKENIZER_FILES, *table["tokenizer_files"]))


def _made(entry: _BuiltIn, present: Iterable[str]) -> list[RemoteFile]:
    """The files that BOS does not store, such that PaddleNLP finds in the folder what it knows of the name."""
    made = []
    if entry.config is not None and "config.json" not in present:
        config = dict(entry.config)
        # Some name a class themselves, and a legacy config must not be told another.
        if config.keys().isdisjoint({"architectures", "init_class"}):
            config["architectures"] = [entry.model]
        made.append(_json_file("config.json", config))
    if entry.tokenizer is not None and "tokenizer_config.json" not in present:
        settings = {**(entry.tokenizer_config or {}), "init_class": entry.tokenizer}
        made.append(_json_file("tokenizer_config.json", settings))
    return made


def _json_file(path: str, value: object) -> RemoteFile:
    content = (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
    url = f"data:application/json;base64,{base64.b64encode(content).decode()}"
    return RemoteFile(path, len(content), Digest("sha256", hashlib.sha256(content).hexdigest()), url)


# ------------------------------------------------------------------------------------------ where files are


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The bucket ``paddlenlp``: Baidu's own, or a mirror.

    Attributes:
        endpoint: without the login it may have held, so that no URL or message can show it.
        is_mirror: whether the URLs of the table are to be asked of it.
        authorization: the header that carries the login.
    """

    endpoint: str
    is_mirror: bool
    authorization: Mapping[str, str]

    @classmethod
    def at(cls, endpoint: str) -> _Bucket:
        try:
            parts = urlsplit(endpoint)
        except ValueError as error:
            raise UsageError(f"PPNLP_ENDPOINT is no URL: {error}", hint="write https://HOST/PATH") from error
        login, _, host = parts.netloc.rpartition("@")
        authorization = {}
        if login:
            authorization = {"Authorization": f"Basic {base64.b64encode(unquote(login).encode()).decode()}"}
        return cls(parts._replace(netloc=host).geturl(), not _BUCKETS.fullmatch(f"{endpoint}/"), authorization)

    def place(self, url: str) -> str:
        """Where a file of the table is; always https at Baidu, which some of its URLs are not."""
        match = _BUCKETS.fullmatch(url)
        if match is None or not self.is_mirror:
            return f"https://{url.partition('://')[2]}"
        folder = f"{match[1]}/" if match[1] == "paddle-hapi" else ""
        return f"{self.endpoint}/{folder}{match[3]}"

    def community(self, repo: str, path: str) -> str:
        """Where a file of any other model is."""
        return f"{self.endpoint}/models/community/{quote(repo)}/{quote(path)}"

    def __str__(self) -> str:
        return without_password(self.endpoint)


def _candidates(repo: str, entry: _BuiltIn | None, bucket: _Bucket) -> dict[str, tuple[str, ...]]:
    """The files a model may have and where; of several URLs, the first that exists is the file."""
    tokenizer_files = _table().tokenizer_files
    names = (*_WEIGHTS, *_CONFIGS, *_RECORDS, *tokenizer_files)
    community: dict[str, tuple[str, ...]] = {path: (bucket.community(repo, path),) for path in names}
    if entry is None:
        return community
    known: dict[str, tuple[str, ...]] = {path: (bucket.place(url),) for path, url in entry.files.items()}
    if not entry.has_config:
        # PaddleNLP takes such a name for one of the community, so what is there fits its classes.
        return {path: community.get(path, ()) + known.get(path, ()) for path in {**community, **known}}
    if entry.tokenizer is None:
        return {path: community[path] for path in tokenizer_files} | known
    return known


# ------------------------------------------------------------------------------------------ asking


@dataclass(frozen=True, slots=True)
class _Found:
    """A file that is there, and what tells this content of it from another."""

    file: RemoteFile
    mark: str


def _find(repo: str, bucket: _Bucket, client: Probe) -> list[_Found]:
    """All files of a model, sorted.

    Raises:
        ModelNotFound: none of them is there, or those of a built-in name lack the weights.
    """
    entry = _table().names.get(repo)
    found = _exists(_candidates(repo, entry, bucket), client)
    if entry is not None and bucket.is_mirror and not _has_weights(found):
        found = _exists(_candidates(repo, None, bucket), client)
    if entry is not None and not _has_weights(found):
        place = bucket.place(entry.files["model_state.pdparams"])
        msg = f"{repo} is one of PaddleNLP's own names, but its weights are not at {without_password(place)}"
        raise ModelNotFound(msg, hint="unset PPNLP_ENDPOINT if it is a mirror, or ask another source")
    if not found:
        msg = f"there is no model {repo} at {bucket}: none of the files that a model has there exists"
        raise ModelNotFound(msg, hint="check the spelling, or ask another source")
    found += _shards(repo, found, bucket, client)
    if entry is not None:
        found += [_Found(file, str(file.digest)) for file in _made(entry, {one.file.path for one in found})]
    return sorted(found, key=lambda one: one.file.path)


def _exists(candidates: Mapping[str, tuple[str, ...]], client: Probe) -> list[_Found]:
    urls = list(dict.fromkeys(url for places in candidates.values() for url in places))
    answers = client.each(client.head, urls)
    found = []
    for path, places in candidates.items():
        url = next((url for url in places if answers[url] is not None), None)
        if url is not None and (headers := answers[url]) is not None:
            found.append(_read_headers(path, url, headers))
    return found


def _has_weights(found: list[_Found]) -> bool:
    return any(one.file.path in _WEIGHTS for one in found)


def _shards(repo: str, found: list[_Found], bucket: _Bucket, client: Probe) -> list[_Found]:
    """The files that the index of a checkpoint in several files speaks of; BOS cannot list them."""
    indexes = [one.file.url for one in found if one.file.path.endswith(".index.json")]
    names: set[str] = set()
    for url, content in client.each(client.read, indexes).items():
        try:
            names.update(json.loads(content)["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Corrupt(f"{without_password(url)} is no index of a checkpoint", hint=_BROKEN) from error
    if not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in names):
        raise Corrupt(f"an index of {repo} names files that cannot be", hint=_BROKEN)
    names -= {one.file.path for one in found}
    return _exists({name: (bucket.community(repo, name),) for name in sorted(names)}, client)


def _read_headers(path: str, url: str, headers: Mapping[str, str]) -> _Found:
    length = headers.get("Content-Length", "")
    # Of a body that a proxy packs, the length says nothing of the file.
    whole = "Content-Encoding" not in headers and re.fullmatch(r"[0-9]{1,18}", length)
    file = RemoteFile(path, int(length) if whole else None, _digest(headers), url)
    mark = str(file.digest) if file.digest else f"{headers.get('ETag')} {headers.get('Last-Modified')}"
    return _Found(file, mark)


def _digest(headers: Mapping[str, str]) -> Digest | None:
    """The best hash that BOS tells; what is malformed is passed over, and None is recorded as unverified.

    ``Content-MD5`` is the md5 in base64. ``x-bce-content-crc32`` is the crc32 as an unsigned decimal number, such as
    ``1570434315``. The ETag is the md5 of an object that was uploaded in one piece; of one that was not, it begins
    with ``-`` and says nothing.
    """
    with suppress(ValueError):
        md5 = base64.b64decode(headers.get("Content-MD5", ""), validate=True)
        if len(md5) == 16:
            return Digest("md5", md5.hex())
    crc32 = headers.get("x-bce-content-crc32", "").strip()
    if re.fullmatch(r"[0-9]{1,10}", crc32) and int(crc32) < 1 << 32:
        return Digest("crc32", f"{int(crc32):08x}")
    etag = headers.get("ETag", "").strip().strip('"').lower()
    return Digest("md5", etag) if re.fullmatch(r"[0-9a-f]{32}", etag) else None


def _commit_of(found: list[_Found]) -> str:
    """A name for the content as it is told, since BOS has none."""
    lines = "".join(f"{one.file.path}\0{one.file.size}\0{one.mark}\n" for one in found)
    return hashlib.sha1(lines.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
