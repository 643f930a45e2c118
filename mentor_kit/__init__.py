"""Teach small language models to use tools, with a teacher's trajectory as a dense reward (MENTOR)."""
