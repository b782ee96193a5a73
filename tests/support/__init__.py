"""What several tests need. Import from here: ``from tests.support import wait_until``."""

from tests.support.waiting import wait_until

__all__ = ["wait_until"]
