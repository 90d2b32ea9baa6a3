"""Whether conversions are what their inputs make, and proofs of alignment of the files beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pphub.alignment.record import PROOF_FILE, proof_problems, read_proof

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pphub.conversion.proof import Inputs, Proof
    from pphub_cache.care.inventory import Conversion, Held
    from pphub_cache.care.verifying import Finding, Work
    from pphub_cache.layout import Layout
    from pphub_cache.progress import Progress

__all__ = ["RECORD", "Place", "Proved", "find_refuted", "inputs_of", "prove_all", "with_alignments", "with_proofs"]

RECORD: Final = "conversion.json"
Place = tuple[str, str, str]
"""Source, repository and commit."""


@dataclass(frozen=True, slots=True)
class Proved:
    """A conversion, and what came of proving it again; ``home`` is empty for a folder of the user's."""

    home: str
    conversion: Conversion
    proof: Proof


def inputs_of(layouts: list[Layout], wanted: Collection[Place] | None, findings: Iterable[Finding]) -> Inputs:
    """The inputs of conversions; what has just been read, and is right, is not hashed again."""
    from pphub.conversion.proof import Inputs

    bad = {finding.claim.file for finding in findings}

    def is_read(held: Held, path: str) -> bool:
        was_read = wanted is None or (held.source, held.repo, held.commit) in wanted
        return was_read and f"{held.folder}/{path}" not in bad

    return Inputs(layouts, is_read)


def prove_all(work: Work, inputs: Inputs, progress: Progress) -> list[Proved]:
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
                if os.path.lexists(folder / RECORD):
                    raise
                continue  # another process has removed it
            proved.append(Proved(home, conversion, proof))
    except BaseException:
        task.stop()
        raise
    task.finish()
    return proved


def with_proofs(findings: list[Finding], proved: Iterable[Proved]) -> list[Finding]:
    """What reading has found and what proving has, one finding a file."""
    from pphub_cache.care.verifying import Finding, claim_of

    known = {finding.claim.file: finding for finding in findings}
    for each in proved:
        proof = each.proof
        problems = {difference.path: difference.problem for difference in proof.differences}
        if proof.verdict == "changed" and not each.home:  # of the cache's, the key says what they were made of
            problems = {RECORD: proof.reason}
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


def with_alignments(findings: list[Finding], work: Work, *, read: bool) -> list[Finding]:
    """What reading has found, and alignments that do not belong to the files beside them."""
    from pphub_cache.care.verifying import Finding, claim_of

    found = []
    for home, conversion in work.conversions:
        if problems := proof_problems(Path(conversion.folder), read=read):
            found.append(Finding(claim_of(home, conversion, PROOF_FILE), "outdated", "; ".join(problems)))
    return findings + found


def find_refuted(work: Work) -> Iterator[tuple[Place, list[str]]]:
    """Downloads whose publisher's proof is of other files; these are as they were published, so none of them is bad."""
    for held in work.snapshots:
        stored = {path: sha256 for path, _, sha256 in held.stored()}
        folder = Path(held.folder)
        # A file of the name may be about something else.
        if PROOF_FILE in stored and read_proof(folder) and (problems := proof_problems(folder, known=stored)):
            yield (held.source, held.repo, held.commit), problems
