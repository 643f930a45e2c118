"""`python -m mentor_kit`, the same as `mentorkit`: for launchers such as `torchrun -m mentor_kit`."""

from mentor_kit.cli import main

main()
