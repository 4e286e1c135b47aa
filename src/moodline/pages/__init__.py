"""What all of moodline's pages share: their look, and how templates become one file that needs nothing beside it."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def build_environment(*packages: str) -> Environment:
    """What pages are made with: the templates of these packages, the first that has one, then those of all pages."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates") for package in (*packages, __name__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": lambda number: f"{number:,}", "clock": format_clock}
    return environment


def format_clock(seconds: float) -> str:
    """Minutes and seconds: ``2:05``; with hours where there are some: ``1:02:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
