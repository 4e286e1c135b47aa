"""Style and template environment of all HTML pages; each page is one self-contained file."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def build_environment(*packages: str) -> Environment:
    """Build a jinja environment with the templates of these packages, in this order, then those of all pages."""
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
    """Format minutes and seconds as ``2:05``, and from one hour on as ``1:02:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
