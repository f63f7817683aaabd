"""Where invocations run. A backend carries frames and reports losses; it decides nothing."""
