"""The algorithms, as data and pure functions: objectives, advantages, losses, distillation, and the reward."""
