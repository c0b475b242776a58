"""The fault harness: a whole service is hurt on purpose, and what it wrote down is compared with what was promised.

    servers + procs + proxy      a Postgres, a Valkey, the process types and a wire between each two that can be cut
    sink                         a process of its own that is called by the jobs: the only judge of side effects
    workload + api_user          jobs of seven classes, and somebody who edits some of them meanwhile
    faults + nemesis             what goes wrong, when, and the proof that it really did
    record + check + oracle      everything as files, and a pure function over them that knows nothing of cronsvc's code
    report                       counts for each invariant, lateness, a picture, and the line that runs it again

`python -m tests.faults smoke` takes less than three minutes; `nightly` and `release` take longer. Every run leaves its
files in a folder, and `python -m tests.faults check FOLDER` judges them again.
"""
