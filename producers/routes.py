"""Which topic a call goes to. Pure: in a call, out a topic; the table is a setting."""

from collections.abc import Mapping

from schemas.tools import CALLS, Call, Plan, Policy, Rewrite, Suggest, tool_name

_NAMED = {
    Plan: "search.plans",
    Rewrite: "search.rewrites",
    Suggest: "search.facets",
    Policy: "search.policy",
}
DEFAULT_ROUTES: dict[str, str] = {
    tool_name(tool): _NAMED.get(tool, f"search.tags.{tool_name(tool).replace('_', '-')}")
    for tool in CALLS
}


class Routes:
    """The routing table; `changes` names topics by tool. Raises `ValueError` for an unknown one."""

    def __init__(self, changes: Mapping[str, str] | None = None) -> None:
        unknown = set(changes or ()) - set(DEFAULT_ROUTES)
        if unknown:
            raise ValueError(
                f"no tool named {', '.join(sorted(unknown))}; tools: {', '.join(DEFAULT_ROUTES)}"
            )
        table = DEFAULT_ROUTES | dict(changes or {})
        self._topics = {tool: table[tool_name(tool)] for tool in CALLS}

    def topic(self, call: Call) -> str:
        return self._topics[type(call)]

    @property
    def topics(self) -> list[str]:
        """Every topic of the table, once each."""
        return list(dict.fromkeys(self._topics.values()))
