"""The long-running doors: each is one coroutine that runs until its stop event is set, and drains before it returns.

`api`, `scheduler` and `worker` are wired from Settings and know nothing of each other; `up` runs all three in one loop
on embedded servers. `signals` turns SIGTERM and SIGINT into the stop event, and ends a process whose drain exceeds its
limit.
"""
