"""The wire format: what a browser reads is what was written, whatever that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bgresults.sse.framing import HEARTBEAT, event, retry_hint
from tests.sse.reading import Event, parsed

# A browser replaces what is no text, such as half of a pair of surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LINES = st.lists(
    st.sampled_from(["data: x", "event: end", "id: 1", ": x", "", "\r", "\n", "\r\n", " ", "\x85", "\u2028"])
)


@given(TEXT | LINES.map("".join), st.sampled_from([None, "", "12ab-end"]))
def test_an_event_is_read_as_it_was_written(data: str, event_id: str | None) -> None:
    (read,) = parsed([event("state", data, event_id), retry_hint(1)][:1])
    seen = data.replace("\r\n", "\n").replace("\r", "\n")
    # An event without data is none to a browser, as the specification has it.
    assert read == Event("state", seen, event_id or "")


@given(st.lists(TEXT, min_size=1), st.integers(1, 50))
def test_however_it_is_cut_on_its_way(texts: list[str], size: int) -> None:
    sent = HEARTBEAT.join([retry_hint(2.5), *(event("state", text, str(n)) for n, text in enumerate(texts))])
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    read = list(parsed(pieces))
    assert read == list(parsed([sent]))
    assert [item.last_event_id for item in read if item.name == "state"] == [str(n) for n in range(len(texts))]
    assert sum(item.name == "[comment]" for item in read) == len(texts)
    assert read[0] == Event("[retry]", 2500)
