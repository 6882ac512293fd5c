"""Mutated recordings: valid files of text with something wrong in them, drawn by Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

NO_NUMBERS = ("", "x", "nan", "inf", "-", "1,5", "0x10", "\u0661", " 1", "1e", "--1", "1.2.3")
"""Texts that no column of numbers can hold."""
ODD_NUMBERS = ("0", "-1", "1", "1e9", "99999999999999999999", "0.000000001", "1.5", "007")
"""Texts that some columns can hold, and others not."""


@st.composite
def mutated(draw: st.DrawFn, text: str, separator: str = ",") -> str:
    """Return the text with one to four mutations: of a field, of whole lines, of its length."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(("field", "field", "field", "drop", "twice", "swap", "cut")))
        if how == "field":
            fields = lines[at].split(separator)
            column = draw(st.integers(0, len(fields) - 1))
            fields[column] = draw(st.sampled_from(NO_NUMBERS + ODD_NUMBERS) | st.text(max_size=4))
            lines[at] = separator.join(fields)
        elif how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
    return "\n".join(lines) + "\n"
