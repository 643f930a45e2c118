"""Whether two texts are the same mathematics: notation to tokens, to a formula, and a comparison by what it is."""
