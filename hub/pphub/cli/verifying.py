"""The command ``hub verify``."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub.alignment.record import PROOF_FILE, proof_problems, read_proof
from pphub.cli.places import find_held, find_layouts, home_of
from pphub.cli.printing import print_json, progress_of, size_of
from pphub.errors import PphubError, UsageError
from pphub.units import number_of, shown
from pphub_cache.layout import SNAPSHOT_FILE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterable, Iterator

    from pphub.conversion.proof import Inputs, Proof
    from pphub_cache.care.inventory import Conversion, Held
    from pphub_cache.care.verifying import Claim, Finding, Work
    from pphub_cache.layout import Layout
    from pphub_cache.progress import Progress

__all__ = ["verify"]

_SHORT: Final = 12  # of a commit
_RECORD: Final = "conversion.json"
_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Proved:
    """A conversion, and what came of proving it again; ``home`` is empty for a folder of the user's."""

    home: str
    conversion: Conversion
    proof: Proof


def verify(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pphub.names import parse

    ref = parse(arguments.name) if arguments.name is not None else None
    if ref and ref.kind == "folder":
        if os.path.lexists(ref.path / _RECORD):
            return _verify_folder(arguments, ref.path)
        if os.path.lexists(ref.path / PROOF_FILE):
            return _verify_proof(arguments, ref.path)
    return _verify_cache(arguments)


def _verify_proof(arguments: argparse.Namespace, folder: Path) -> int:
    """Of a Paddle folder that nobody has converted here, and that was aligned."""
    problems = proof_problems(folder, read=not arguments.quick)
    if arguments.json:
        bad = [{"path": PROOF_FILE, "kind": "outdated", "problem": problem} for problem in problems]
        print_json({"bad": bad, "conversions": []})
        return 1 if problems else 0
    for problem in problems:
        print(f"outdated  {PROOF_FILE}: {shown(problem)}")
    if not problems and not arguments.quiet:
        print(f"{PROOF_FILE} is of the files beside it")
    return 1 if problems else 0


def _verify_folder(arguments: argparse.Namespace, folder: Path) -> int:
    from pphub.conversion.proof import Inputs
    from pphub_cache.care.verifying import plan_folder

    if arguments.quarantine or arguments.refetch:
        msg = f"{folder} is not in the cache, so nothing of it is moved"
        raise UsageError(msg, hint="verify it alone; if it is damaged, convert the model again, to another folder")
    progress = progress_of(arguments)
    work = plan_folder(folder)
    findings = _read(work, "files of the conversion", progress)
    proved = [] if arguments.quick else _prove(work, Inputs(find_layouts()), progress)
    findings = _with_alignments(_with_proofs(findings, proved), work, read=not arguments.quick)
    beside = _beside(folder, work)
    if arguments.json:
        print_json(_document(work, findings, proved) | {"beside": beside})
    else:
        for finding in findings:
            _print_finding(finding)
        for name in beside:
            print(f"beside it  {shown(name)}: it is not of this conversion, and PaddleNLP might load it instead")
        _print_sum(arguments, work, findings, proved)
    return 1 if findings else 0


def _beside(folder: Path, work: Work) -> list[str]:
    """What the user has put beside the conversion, and PaddleNLP prefers, or might."""
    from pphub.select import is_weights
    from pphub_cache.care.inventory import files_of

    known = {name for _, conversion in work.conversions for name in files_of(conversion) or ()}
    names = {path.name for path in folder.iterdir()} - known
    return sorted(name for name in names if known and (is_weights(name) or name == "model_config.json"))


def _verify_cache(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.quarantine import set_aside
    from pphub_cache.care.verifying import plan_again, plan_check

    layouts = find_layouts()
    layout = layouts[0]
    wanted = None
    if arguments.name is not None:
        found = find_held(layouts, arguments.name)
        wanted = found.origins | {(held.source, held.repo, held.commit) for held in found.shared}
    progress = progress_of(arguments)
    work = plan_check(layouts, wanted)
    findings = _read(work, "stored files", progress)
    proved = [] if arguments.quick else _prove(work, _inputs(layouts, wanted, findings), progress)
    findings = _with_alignments(_with_proofs(findings, proved), work, read=not arguments.quick)
    refuted = list(_refuted(work))
    here = [finding for finding in findings if finding.claim.home == str(layout.home)]
    lost: list[Claim] = []
    made: list[Claim] = []
    if here and (arguments.quarantine or arguments.refetch):
        lost = set_aside(layout, here, lambda owner: progress.note(f"waiting: {owner}"))
    failures = _refetch(lost, progress) if arguments.refetch else {}
    if here and (arguments.quarantine or arguments.refetch):
        made = _show_again(layout, here, progress)
    fetched = [claim for claim in lost if _place_of(claim) not in failures] if arguments.refetch else []
    still = _read(plan_again(layout, [*fetched, *made]), "files fetched again", progress) if fetched or made else []
    if arguments.json:
        document = {
            "quarantined": [_claim_document(claim) for claim in lost],
            "failed": [{**_place(place), "message": error.message} for place, error in failures.items()],
            "still_bad": [_finding_document(finding) for finding in still],
            "refuted": [{**_place(place), "problems": problems} for place, problems in refuted],
        }
        print_json(_document(work, findings, proved) | document)
    else:
        for place, problems in refuted:
            print(f"not aligned  {_name(place)}: its publisher's {PROOF_FILE} is wrong: {shown('; '.join(problems))}")
        for finding in findings:
            _print_finding(finding)
            _print_outcome(arguments, layout, finding, is_made=finding.claim in made)
        _print_lost(arguments, layouts, lost, failures, still)
        _print_sum(arguments, work, findings, proved)
    done = arguments.refetch and not failures and not still and len(here) == len(findings)
    return 0 if done or not findings else 1


def _read(work: Work, what: str, progress: Progress) -> list[Finding]:
    from pphub_cache.care.verifying import check

    task = progress.start(what, work.size)
    try:
        findings = check(work, task.advance)
    except BaseException:
        task.stop()
        raise
    task.finish()
    return findings


# ------------------------------------------------------------------------------------------------ conversions


def _inputs(layouts: list[Layout], wanted: Collection[_Place] | None, findings: Iterable[Finding]) -> Inputs:
    """The inputs of conversions; what has just been read, and is right, is not hashed again."""
    from pphub.conversion.proof import Inputs

    bad = {finding.claim.file for finding in findings}

    def is_read(held: Held, path: str) -> bool:
        was_read = wanted is None or (held.source, held.repo, held.commit) in wanted
        return was_read and f"{held.folder}/{path}" not in bad

    return Inputs(layouts, is_read)


def _prove(work: Work, inputs: Inputs, progress: Progress) -> list[_Proved]:
    """Make the conversions again, in memory, and compare."""
    from pphub.conversion.proof import prove

    task = progress.start("conversions", sum(each.weights[1] for _, each in work.conversions if each.weights))
    proved = []
    try:
        for home, conversion in work.conversions:
            folder = Path(conversion.folder)
            try:
                proof = prove(folder, inputs, conversion.key if home else None, task.advance)
            except FileNotFoundError:
                if os.path.lexists(folder / _RECORD):
                    raise
                continue  # another process has removed it
            proved.append(_Proved(home, conversion, proof))
    except BaseException:
        task.stop()
        raise
    task.finish()
    return proved


def _with_proofs(findings: list[Finding], proved: Iterable[_Proved]) -> list[Finding]:
    """What reading has found and what proving has, one finding a file."""
    from pphub_cache.care.verifying import Finding, claim_of

    known = {finding.claim.file: finding for finding in findings}
    for each in proved:
        proof = each.proof
        problems = {difference.path: difference.problem for difference in proof.differences}
        if proof.verdict == "changed" and not each.home:  # of the cache's, the key says what they were made of
            problems = {_RECORD: proof.reason}
        for path, problem in problems.items():
            claim = claim_of(each.home, each.conversion, path)
            if earlier := known.get(claim.file):
                words = f"{earlier.problem}; {problem}" if earlier.kind != "missing" else earlier.problem
                known[claim.file] = replace(earlier, problem=words)
            else:
                reason = f" ({proof.reason})" if proof.verdict == "outdated" else ""
                known[claim.file] = Finding(
                    claim, "damaged" if proof.verdict == "differs" else "outdated", problem + reason
                )
    return list(known.values())


def _with_alignments(findings: list[Finding], work: Work, *, read: bool) -> list[Finding]:
    """What reading has found, and alignments that do not belong to the files beside them."""
    from pphub_cache.care.verifying import Finding, claim_of

    found = []
    for home, conversion in work.conversions:
        if problems := proof_problems(Path(conversion.folder), read=read):
            found.append(Finding(claim_of(home, conversion, PROOF_FILE), "outdated", "; ".join(problems)))
    return findings + found


def _refuted(work: Work) -> Iterator[tuple[_Place, list[str]]]:
    """Downloads whose publisher's proof is of other files; these are as they were published, so none of them is bad."""
    for held in work.snapshots:
        stored = {path: sha256 for path, _, sha256 in held.stored()}
        folder = Path(held.folder)
        # A file of the name may be about something else.
        if PROOF_FILE in stored and read_proof(folder) and (problems := proof_problems(folder, known=stored)):
            yield (held.source, held.repo, held.commit), problems


# ------------------------------------------------------------------------------------------------ mending


def _show_again(layout: Layout, findings: Iterable[Finding], progress: Progress) -> list[Claim]:
    """Make the views of which something was set aside anew; returns what should be right now."""
    from pphub.view import show_by_name
    from pphub_cache.care.inventory import read_view

    claims = [finding.claim for finding in findings if finding.claim.view is not None]
    for name in sorted({claim.view for claim in claims if claim.view is not None}):
        view = read_view(layout, name)
        if view is None or view.origin is None or not Path(view.shown).is_dir():
            claims = [claim for claim in claims if claim.view != name]  # what it showed was set aside as well
            continue
        source, repo, commit = view.origin
        show_by_name(layout.home, name, Path(view.shown), source=source, repo=repo, commit=commit, note=progress.note)
    return claims


def _refetch(lost: Iterable[Claim], progress: Progress) -> dict[_Place, PphubError]:
    """Download again what is no longer stored; returns what could not be, by source, repository and commit."""
    from glob import escape

    import pphub

    places: dict[_Place, list[str]] = {}
    for claim in lost:
        places.setdefault(_place_of(claim), []).append(claim.path)
    failures = {}
    for (source, repo, commit), paths in places.items():
        # Of a snapshot whose record is gone it is not known what it held: the usual files, then.
        include = None if SNAPSHOT_FILE in paths else [escape(path) for path in paths]
        try:
            pphub.download(repo, commit, source, include=include, progress=progress)
        except PphubError as error:
            failures[source, repo, commit] = error
    return failures


# ------------------------------------------------------------------------------------------------ telling


def _print_finding(finding: Finding) -> None:
    claim = finding.claim
    kind = "conversion of " if claim.conversion else f"models/{shown(claim.view)}, from " if claim.view else ""
    print(f"{finding.kind}  {kind}{_model(claim)}  {shown(claim.path)}: {shown(finding.problem)}")


def _print_outcome(arguments: argparse.Namespace, layout: Layout, finding: Finding, *, is_made: bool) -> None:
    claim = finding.claim
    if claim.home != str(layout.home):
        print(f"  {_advice(claim.home)}")
    elif is_made:
        print("  set aside, and made again")
    elif (claim.conversion or claim.view) and (arguments.quarantine or arguments.refetch):
        print("  set aside; it is made again when it is needed")


def _advice(home: str) -> str:
    return f"it is in the shared cache {home}, which its owner must mend: PPNLP_HOME={home} hub verify --refetch"


def _print_lost(
    arguments: argparse.Namespace,
    layouts: list[Layout],
    lost: Iterable[Claim],
    failures: dict[_Place, PphubError],
    still: Iterable[Finding],
) -> None:
    bad: dict[_Place, list[Finding]] = {}
    for finding in still:
        bad.setdefault(_place_of(finding.claim), []).append(finding)
        if finding.claim.view is not None:
            print(f"models/{shown(finding.claim.view)}  {shown(finding.claim.path)}: still bad: {finding.problem}")
    for claim in lost:
        error = failures.get(_place_of(claim))
        wrong = [one for one in bad.get(_place_of(claim), []) if claim.path in {SNAPSHOT_FILE, one.claim.path}]
        outcome = "set aside"
        if error is not None:
            outcome = f"not fetched again: {error.message}"
        elif wrong:
            outcome = f"fetched again, and still bad: {wrong[0].problem}"
        elif arguments.refetch:
            outcome = "fetched again, right"
        print(f"{_model(claim)}  {shown(claim.path)}: {outcome}")
        if wrong and (home := home_of(layouts, wrong[0].claim.file)):
            print(f"  {_advice(home)}")


def _print_sum(arguments: argparse.Namespace, work: Work, findings: list[Finding], proved: Iterable[_Proved]) -> None:
    if arguments.quiet:
        return
    verdicts = [each.proof.verdict for each in proved]
    for each in proved:
        if each.proof.verdict in {"changed", "unproved"}:
            print(f"could not be proved  conversion of {_origin(each)}: {shown(each.proof.reason)}")
    kinds = "damaged, outdated or missing" if "outdated" in verdicts else "damaged or missing"
    line = f"{work.files} files, {size_of(work.size)}: {number_of(len(findings), 'file')} {kinds}"
    if verdicts:
        line += f"; {verdicts.count('proved')} of {number_of(len(verdicts), 'conversion')} proved from the inputs"
        if unproved := verdicts.count("unproved"):
            line += f", and {unproved} could not be: only the hashes of the record were compared"
    print(line)


def _origin(proved: _Proved) -> str:
    from pphub_cache.care.verifying import claim_of

    return _model(claim_of(proved.home, proved.conversion, _RECORD))


def _model(claim: Claim) -> str:
    return _name(_place_of(claim))


def _name(place: _Place) -> str:
    source, repo, commit = place
    return shown(f"{source}:{repo}@{commit[:_SHORT]}")


def _document(work: Work, findings: Iterable[Finding], proved: Iterable[_Proved]) -> dict[str, Any]:
    return {
        "files": work.files,
        "size": work.size,
        "bad": [_finding_document(finding) for finding in findings],
        "conversions": [_proof_document(each) for each in proved],
    }


def _proof_document(proved: _Proved) -> dict[str, Any]:
    conversion, proof = proved.conversion, proved.proof
    return {
        "folder": conversion.folder,
        "origins": [_place(place) for place in sorted(conversion.origins)],
        "verdict": proof.verdict,
        "reason": proof.reason or None,
        "differences": [{"path": one.path, "problem": one.problem} for one in proof.differences],
    }


def _finding_document(finding: Finding) -> dict[str, Any]:
    document = {**_claim_document(finding.claim), "conversion": finding.claim.conversion}
    document |= {"home": finding.claim.home, "view": finding.claim.view}
    return {**document, "kind": finding.kind, "problem": finding.problem}


def _claim_document(claim: Claim) -> dict[str, Any]:
    return {**_place(_place_of(claim)), "path": claim.path}


def _place_of(claim: Claim) -> _Place:
    return claim.source, claim.repo, claim.commit


def _place(place: _Place) -> dict[str, Any]:
    return {"source": place[0], "repo": place[1], "commit": place[2]}
