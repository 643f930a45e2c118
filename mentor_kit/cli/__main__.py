"""`python -m mentor_kit.cli`, the same as `mentorkit`."""

from mentor_kit.cli import main

main()
