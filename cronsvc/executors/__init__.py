"""Job types: the code that makes one attempt.

An executor is a class behind one `cronsvc.executors` entry point (`registry.py` finds them; the entry point's name is
the job type). It has three methods (`base.py`): `parse` turns a `taskPayload.config` into something typed or says
everything that is wrong with it, `run` makes exactly one attempt and answers with an Outcome, `close` lets go.
Executors know nothing of Postgres, Redis or retries: they say what happened, `services/running.py` decides the rest.

The rules every job type keeps:

- One attempt is one try at the target. Nothing below `run` tries again by itself, or a row's `attempt` would lie.
- An Outcome says what is known. When a request left and no answer came back, an at-most-once job is `lost`: its effect
  is unknown, and nobody guesses (`outcomes.py` holds that table).
- A hostile target can neither hang nor bloat a worker: one deadline over everything, 64 KB kept of what it says.
- Error messages are our words with a stable type. Texts of client libraries may carry header values, so they stay out.

API_CALL reads top down: `api_call_config.py` (what a person writes → one prepared request),
`egress.py` (which addresses it may reach, checked when the socket is made), `resolver.py` (names to addresses),
`api_call.py` (the one request), `api_call_answer.py` (what is kept of the answer), `outcomes.py` (what it means). Each
option has a file: `api_call_{body,url,auth,oauth,signing,tls,redirects,expect,capture}.py`; `{{secret:name}}` is filled
in by `api_call_config.with_secrets` when an attempt asks `context.secrets`.

PYTHON calls functions that the operator registered (`handler_registry.py`): `python.py`, and for plain functions
`python_child.py` in a process of its own. COMMAND (`command.py`) runs programs that the operator listed, SQL (`sql.py`)
one statement on a database that the operator named. `children.py` is how a process of ours ends when it should,
`jsonable.py` how anybody's values become small JSON, `config_faults.py` how a strict model's faults become sentences.
"""
