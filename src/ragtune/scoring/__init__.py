"""Floor 1: score matrices, targets and losses. Torch alone, nothing but functions of their arguments.

Shape letters, everywhere in the package: Q queries, C candidates, B rows of a batch, S query tokens, T passage tokens,
D dimensions, V vocabulary.
"""
