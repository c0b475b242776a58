"""Proof that the checker can see: each mutant weakens one guard of cronsvc, and a named invariant must turn red.

`guards` weakens, in the processes that the launcher starts with `--mutant`; `scenarios` plays the shortest story in
which the guard matters, with the guard and without it; `play` records what happened as a history for `check`.
"""
