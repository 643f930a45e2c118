"""Data types and contracts of the toolkit: conversations, tools, tasks, trajectories, demonstrations, agents, errors.

Pure: no module of this package reads files, or imports torch, mlx or transformers.
"""
