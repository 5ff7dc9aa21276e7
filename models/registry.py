"""A table of names that refuses doubles and answers a wrong name with the closest right ones."""
import difflib


def did_you_mean(name, candidates, n=4):
    """Return ": did you mean a, b?" for the closest candidates, or "." when none is close."""
    lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), lower, n=n, cutoff=0.5)
    return f": did you mean {', '.join(lower[match] for match in close)}?" if close else "."


class Registry:
    """Maps names to entries. `kind` says what the entries are ("head", "backbone") in messages."""

    def __init__(self, kind):
        self.kind = kind
        self._entries = {}

    def add(self, name, entry):
        """Register `entry` under `name` and return it. Raises ValueError where the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already as {self._entries[name]!r}; "
                             "choose another name")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name):
        if name not in self._entries:
            raise ValueError(f"no {self.kind} {name!r}{did_you_mean(str(name), self._entries)} "
                             f"Known: {', '.join(self._entries)}.")
        return self._entries[name]

    def __contains__(self, name):
        return name in self._entries

    def __iter__(self):
        return iter(self._entries)
