"""What a scrape says, as the parser of ``prometheus_client`` reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape"]


class Scrape:
    """Samples of one scrape.

    Args:
        text: the answer to it.
    """

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, sample: str, /, **labels: str) -> float:
        """The one value with these labels.

        Raises:
            AssertionError: there is none, or there are several.
        """
        found = self.find(sample, **labels)
        assert len(found) == 1, f"{len(found)} samples of {sample} with {labels}"
        return found[0]

    def find(self, sample: str, /, **labels: str) -> list[float]:
        """All values with these labels."""
        return [
            item.value
            for family in self.families.values()
            for item in family.samples
            if item.name == sample and item.labels == labels
        ]

    def has(self, sample: str) -> bool:
        """Whether there is any of it."""
        return any(item.name == sample for family in self.families.values() for item in family.samples)
