"""What a browser tells until it was heard.

Of two events of one component that meet on their way to the server, Streamlit keeps the later. So a component numbers
what must not be lost, tells all of it that was not heard yet, and is told the number of the last that was.
"""

from __future__ import annotations

from typing import Any

import streamlit as st


def heard(key: str) -> int:
    """The number of the last event that this session heard of a component; 0 of one that told none."""
    number: int = st.session_state.get(_name(key), 0)
    return number


def news(key: str, told: object) -> list[dict[Any, Any]]:
    """Those of a component's numbered events that were not heard before, in order; a browser may say anything."""
    found = []
    for event in told if isinstance(told, list) else ():
        match event:
            case {"number": int(number), **rest} if heard(key) < number < 2**53:
                st.session_state[_name(key)] = number
                found.append(rest)
    return found


def _name(key: str) -> str:
    return f"{key}_heard"
