"""What kept an execution from calling its host: budgets and breakers, as its holds tell it. Pure."""

from collections.abc import Iterator

from cronsvc.domain.evidence import Evidence, Step, moment

_WHY = {
    "rate": "as many calls had begun as its budget allows",
    "concurrency": "as many calls ran as it may have at a time",
    "breaker": "its breaker was open",
}


def host_steps(evidence: Evidence) -> Iterator[Step]:
    """Each host and reason that held it, from when, and how often it was looked at in vain."""
    for hold in evidence.host_holds:
        often = "once" if hold.times == 1 else f"{hold.times} times"
        says = f"It waited for the host {hold.host} from {moment(hold.held_from)} on: {_WHY[hold.reason]}."
        says += f" It was claimed and given back {often}; no attempt was spent and nothing was sent."
        if hold.is_held:
            says += f" It is looked at again at {moment(hold.held_until)}."
        facts = {
            "host": hold.host,
            "reason": hold.reason,
            "times": hold.times,
            "from": hold.held_from,
            "until": hold.held_until,
            "is_held": hold.is_held,
        }
        yield Step("host", says, facts)


def holding_words(evidence: Evidence) -> str | None:
    """What host holds it now, and until when; None: none does."""
    for hold in evidence.host_holds:
        if hold.is_held:
            again = f"it is looked at again at {moment(hold.held_until)}"
            return f"it waits for the host {hold.host}, because {_WHY[hold.reason]}; {again}"
    return None
