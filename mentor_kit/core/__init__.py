"""The toolkit's words: conversations, tools, tasks, trajectories, demonstrations, agents, and errors.

Pure: no module of this package reads files, or imports torch, mlx or transformers.
"""
