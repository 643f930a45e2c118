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

from mentor_kit.audit.audit import Audit, Earned, FamilyAudit, audit, try_attacks
from mentor_kit.audit.bounds import Bounds
from mentor_kit.audit.catalogue import ATTACKS, Attack
from mentor_kit.audit.ground import Ground, find_grounds
from mentor_kit.audit.raw import END, Played, Script, World
from mentor_kit.audit.search import Find, Searched, search

__all__ = [
    "ATTACKS",
    "END",
    "Attack",
    "Audit",
    "Bounds",
    "Earned",
    "FamilyAudit",
    "Find",
    "Ground",
    "Played",
    "Script",
    "Searched",
    "World",
    "audit",
    "find_grounds",
    "search",
    "try_attacks",
]
