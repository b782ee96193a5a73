"""The tasks of all examples. Stock Celery: they know nothing of this library."""

import time

from celery import shared_task

#: Region → revenue of one page of its report, seconds that a page takes. Nobody has any figures of the last one.
FIGURES = {"North": (1730, 0.08), "East": (2210, 0.11), "South": (1490, 0.14), "West": (2640, 0.18)}
REGIONS = (*FIGURES, "Atlantis")


class NoFiguresError(Exception):
    """There is nothing to report."""


@shared_task(bind=True, throws=(NoFiguresError,))
def build_report(self, region, pages):
    """Build the report of a region, page by page, and say how far it is."""
    revenue, seconds = FIGURES.get(region, (0, 0.1))
    for page in range(1, pages + 1):
        time.sleep(seconds)
        if region not in FIGURES and page > pages / 3:
            raise NoFiguresError(f"{region} has sent no figures since it sank")
        # The keys that celery-progress uses, too.
        self.update_state(
            state="PROGRESS", meta={"current": page, "total": pages, "description": f"Page {page} of {pages}"}
        )
    return {"Region": region, "Pages": pages, "Revenue": f"€ {revenue * pages:,}"}
