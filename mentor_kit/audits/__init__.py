"""Audits of rewards: whether anything earns more than honest work.

subject      a problem, and honest work on it as raw strings
attacks      known attacks, each a raw string
search       honest transcripts mutated at random
call_syntax  the families of models in whose syntax attacks are written
raw_rollout  raw strings, run through the real parser, tools and rollout
bounds       the reward of honest work with the same calls and answer
published    the published rule, which scores text, for comparison
"""

from __future__ import annotations

from mentor_kit.audits.attacks import ATTACKS, Attack
from mentor_kit.audits.audit import Audit, Earned, FamilyAudit, audit, try_attacks
from mentor_kit.audits.bounds import Bounds
from mentor_kit.audits.raw_rollout import END, AuditEnvironment, RawRollout, Script
from mentor_kit.audits.search import Find, Searched, search
from mentor_kit.audits.subject import AuditSubject, find_subjects

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
    "find_subjects",
    "search",
    "try_attacks",
]
