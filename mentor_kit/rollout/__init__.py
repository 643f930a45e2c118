"""Rollouts: run episodes of an agent with tools and a task; students and teachers share this code."""

from mentor_kit.rollout.background import BackgroundLoop
from mentor_kit.rollout.device_sampler import DeviceSampler
from mentor_kit.rollout.dialogue import LiveDialogue
from mentor_kit.rollout.episode import EpisodeRules, judge, outside_event_loop, run_async, run_episode, run_episodes
from mentor_kit.rollout.policy_agent import PolicyAgent, Sampling
from mentor_kit.rollout.streaming import StreamingSampler, TurnStream
from mentor_kit.rollout.tools import Cut, cut_by_characters, run_call
from mentor_kit.rollout.verdict import is_right
from mentor_kit.rollout.watcher import EpisodeWatcher

__all__ = [
    "BackgroundLoop",
    "Cut",
    "DeviceSampler",
    "EpisodeRules",
    "EpisodeWatcher",
    "LiveDialogue",
    "PolicyAgent",
    "Sampling",
    "StreamingSampler",
    "TurnStream",
    "cut_by_characters",
    "is_right",
    "judge",
    "outside_event_loop",
    "run_async",
    "run_call",
    "run_episode",
    "run_episodes",
]
