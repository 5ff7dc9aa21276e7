"""What the command lines of run.py and create_tfrecords.py share: @recipes, None, clear refusals."""
import argparse
import difflib
import pathlib
import shlex


class Parser(argparse.ArgumentParser):
    """argparse with @FILE arguments (a line per option, # comments) and close matches.

    `None` on the command line is Python's None for every option whose default that is.
    """

    def __init__(self, **arguments):
        super().__init__(fromfile_prefix_chars="@", allow_abbrev=False,
                         formatter_class=HelpFormatter, **arguments)

    def convert_arg_line_to_args(self, line):
        try:
            return shlex.split(line, comments=True)
        except ValueError as error:
            self.error(f"recipe line {line!r}: {error}")

    def parse_args(self, args=None, namespace=None):
        values, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [o for action in self._actions for o in action.option_strings]
            given = unknown[0].split("=")[0]
            close = difflib.get_close_matches(given, options, 3, 0.5)
            self.error(f"unknown option {given}" +
                       (f" (did you mean {' or '.join(close)}?)" if close else "") +
                       "; --help lists them all")
        return values

    def _get_value(self, action, text):
        return None if text == "None" and action.default is None else super()._get_value(action, text)

    def _check_value(self, action, value):
        if action.choices is not None and value is not None and value not in action.choices:
            allowed = [str(choice) for choice in action.choices]
            close = difflib.get_close_matches(str(value), allowed, 1, 0.5)
            raise argparse.ArgumentError(
                action, f"{value!r} is not one of {', '.join(allowed)}" +
                (f" (did you mean {close[0]}?)" if close else ""))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds "(default: ...)" where there is one and the help text does not state it."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=30, width=100)

    def _get_help_string(self, action):
        unsaid = "default" not in action.help and action.default not in (argparse.SUPPRESS, [])
        if not unsaid or action.nargs == 0 or action.default is None:
            return action.help
        if isinstance(action.default, bool):
            return f"{action.help} (default: {'on' if action.default else 'off'})"
        return f"{action.help} (default: %(default)s)"


def or_none(kind):
    """An argparse type for options with another default: "None" is Python's None, else `kind`."""
    def convert(text):
        return None if text == "None" else kind(text)
    convert.__name__ = kind.__name__
    return convert


def on_off(text):
    """An argparse type: on or off, as a bool."""
    if text.lower() not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return text.lower() == "on"


def number(kind, low=None, high=None, above=None):
    """An argparse type: a number of `kind` within the stated bounds."""
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        for wrong, bound in ((low is not None and not value >= low, f"at least {low}"),
                             (high is not None and not value <= high, f"at most {high}"),
                             (above is not None and not value > above, f"above {above}")):
            if wrong:
                raise argparse.ArgumentTypeError(f"{text} must be {bound}")
        return value
    convert.__name__ = kind.__name__
    return convert


def values(kind):
    """An argparse type: comma-separated values of `kind` as a list; "None" or "" is empty."""
    def convert(text):
        return [] if text in ("None", "") else [kind(part) for part in text.split(",")]
    convert.__name__ = f"{kind.__name__},..."
    return convert


def output_name(text):
    """An argparse type: a name that is safe as part of a file name."""
    if not text or text.startswith(".") or not all(c.isalnum() or c in "._-" for c in text):
        raise argparse.ArgumentTypeError(f"{text!r} may hold letters, digits, '.', '_' and '-' only")
    return text


def path(text):
    return pathlib.Path(text).expanduser()
