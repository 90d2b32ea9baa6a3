"""The command ``hub verify``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub.alignment.record import PROOF_FILE, proof_problems
from pphub.cli.places import find_held, find_layouts, home_of
from pphub.cli.printing import print_json, progress_of, size_of
from pphub.cli.proving import RECORD, find_refuted, inputs_of, prove_all, with_alignments, with_proofs
from pphub.errors import PphubError, UsageError
from pphub.units import number_of, shown
from pphub_cache.layout import SNAPSHOT_FILE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from pphub.cli.proving import Place, Proved
    from pphub_cache.care.verifying import Claim, Finding, Work
    from pphub_cache.layout import Layout
    from pphub_cache.progress import Progress

__all__ = ["verify"]

_SHORT: Final = 12  # of a commit


def verify(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pphub.names import parse

    ref = parse(arguments.name) if arguments.name is not None else None
    if ref and ref.kind == "folder":
        if os.path.lexists(ref.path / RECORD):
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
    proved = [] if arguments.quick else prove_all(work, Inputs(find_layouts()), progress)
    findings = with_alignments(with_proofs(findings, proved), work, read=not arguments.quick)
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
    proved = [] if arguments.quick else prove_all(work, inputs_of(layouts, wanted, findings), progress)
    findings = with_alignments(with_proofs(findings, proved), work, read=not arguments.quick)
    refuted = list(find_refuted(work))
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


def _refetch(lost: Iterable[Claim], progress: Progress) -> dict[Place, PphubError]:
    """Download again what is no longer stored; returns what could not be, by source, repository and commit."""
    from glob import escape

    import pphub

    places: dict[Place, list[str]] = {}
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
    failures: dict[Place, PphubError],
    still: Iterable[Finding],
) -> None:
    bad: dict[Place, list[Finding]] = {}
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


def _print_sum(arguments: argparse.Namespace, work: Work, findings: list[Finding], proved: Iterable[Proved]) -> None:
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


def _origin(proved: Proved) -> str:
    from pphub_cache.care.verifying import claim_of

    return _model(claim_of(proved.home, proved.conversion, RECORD))


def _model(claim: Claim) -> str:
    return _name(_place_of(claim))


def _name(place: Place) -> str:
    source, repo, commit = place
    return shown(f"{source}:{repo}@{commit[:_SHORT]}")


def _document(work: Work, findings: Iterable[Finding], proved: Iterable[Proved]) -> dict[str, Any]:
    return {
        "files": work.files,
        "size": work.size,
        "bad": [_finding_document(finding) for finding in findings],
        "conversions": [_proof_document(each) for each in proved],
    }


def _proof_document(proved: Proved) -> dict[str, Any]:
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


def _place_of(claim: Claim) -> Place:
    return claim.source, claim.repo, claim.commit


def _place(place: Place) -> dict[str, Any]:
    return {"source": place[0], "repo": place[1], "commit": place[2]}
