"""`python -m tests.tools.environment_table` prints the README's table of every variable; a test holds the two equal."""

from cronsvc.config import FILE_SUFFIX, URL_PARTS, Settings, secret_names
from cronsvc.config_client import ClientSettings
from cronsvc.config_limits import LimitSettings


def environment_table() -> str:
    """The README's table of every variable, as markdown."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    fields = Settings.model_fields
    for field in (fields[name] for name in sorted(fields, key=_place_in_table)):
        default = "" if field.default in (None, (), {}) else f"`{_plain(field.default)}`"
        also = f"; or `{field.alias}{FILE_SUFFIX}`" if field.alias in secret_names() else ""
        lines.append(f"| `{field.alias}` | {default} | {field.description}{also} |")
    for name, note in URL_PARTS.items():
        default, meaning = (f"`{note}`", "") if note.isdigit() else ("", note)
        if name in secret_names():
            meaning = f"or `{name}{FILE_SUFFIX}`"
        lines.append(f"| `{name}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _place_in_table(name: str) -> int:
    return 2 if name in ClientSettings.model_fields else int(name in LimitSettings.model_fields)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(environment_table())
