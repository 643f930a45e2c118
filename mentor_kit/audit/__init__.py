"""Audits of rewards: does anything earn more than honest work?

ground     a problem, and honest work on it as raw text
catalogue  known attacks, each raw text
search     honest transcripts mutated at random
written    as which families of models texts are written
raw        texts played through the real parser, tools and rollout
bounds     what honest work with the same calls and answer earns
published  the published rule, which scores text, for comparison
"""

from __future__ import annotations

from mentor_kit.audit.attacks import ATTACKS, Attack
from mentor_kit.audit.audit import Audit, Earned, FamilyAudit, audit, try_attacks
from mentor_kit.audit.bounds import Bounds
from mentor_kit.audit.raw_rollout import END, AuditEnvironment, RawRollout, Script
from mentor_kit.audit.search import Find, Searched, search
from mentor_kit.audit.subject import AuditSubject, find_grounds

__all__ = [
    "ATTACKS",
    "END",
    "Attack",
    "Audit",
    "AuditEnvironment",
    "AuditSubject",
    "Bounds",
    "Earned",
    "FamilyAudit",
    "Find",
    "RawRollout",
    "Script",
    "Searched",
    "audit",
    "find_grounds",
    "search",
    "try_attacks",
]
