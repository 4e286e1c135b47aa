"""Parsing with jsonargparse, whose errors become one sentence each."""

import difflib
import re
from typing import Any, NoReturn

import jsonargparse

from moodline.errors import MoodlineError
from moodline.recipe import told


def plain(message: str) -> str:
    """jsonargparse's complaint of what is missing, with options as they are typed; any other message as it is."""
    if missing := re.fullmatch(r"the following arguments are required: (?P<names>[\w., ]+)", message):
        names = (name.rsplit(".", 1)[-1] for name in missing["names"].split(", "))
        return "these are needed: " + ", ".join(TYPED.get(name, f"--{name}") for name in names)
    return message


# What is given by its place, or shorter.
TYPED = {"corpus": "CORPUS", "source": "SOURCE", "sources": "SOURCE", "out": "-o"}


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Leaves out types that only Python knows by such names, and the defaults of what is not there."""

    def _get_help_string(self, action: Any) -> str:
        found = super()._get_help_string(action)
        if action.default is not None and action.default is not False:
            return found
        return re.sub(r"(, )?default: %\(default\)s", "", found).removesuffix(" ()")

    def _get_type_str(self, action: Any) -> str | None:
        found = super()._get_type_str(action)
        return None if found is None or found.startswith("<class") else found


class Parser(jsonargparse.ArgumentParser):
    """An ArgumentParser that raises MoodlineError instead of printing its usage and exiting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{
                "exit_on_error": False,
                "print_config": False,
                "allow_abbrev": False,
                "formatter_class": HelpFormatter,
                **options,
            }
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise MoodlineError(self.sentence(message)) from ex

    def sentence(self, message: str) -> str:
        """What is wrong, in one line, with the nearest option where one is misspelt."""
        line = " ".join(message.split())
        strangers = re.search(r"Unrecognized arguments: (.+)", line, re.IGNORECASE)
        if strangers is None:
            return plain(told(line)).removesuffix(".") + f"; {self.name} --help tells what is expected"
        option = strangers[1].split()[0].split("=")[0]
        close = difflib.get_close_matches(option, self.options(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"{self.name} --help lists the options"
        return f"{self.name} has no option {option!r}; {hint}"

    @property
    def name(self) -> str:
        """The command as a person types it."""
        return self.prog.replace(" [options]", "")

    def options(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]
