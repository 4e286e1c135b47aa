"""The option below whose probability nothing is answered."""

from typing import Any


def add_to(parser: Any) -> None:
    parser.add_argument(
        "--threshold", type=float, default=None, help="a probability: whatever is less probable is labelled uncertain"
    )
