"""Words with `code` in them, as docstrings have it, cut for a page; the template escapes each piece."""


def pieces(text: str) -> list[tuple[str, bool]]:
    """The text in pieces: (words, whether they stood in backticks)."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner stays as it is
        return [(text, False)]
    return [(part, bool(number % 2)) for number, part in enumerate(parts) if part]
