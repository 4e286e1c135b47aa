"""Processes of one's own that never outlive their parent."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """End this process when its parent ends, however that does: a parent that is killed ends none of its children."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of one's own has a parent"
    wait([parent.sentinel])
    os._exit(1)
