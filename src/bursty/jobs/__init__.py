"""Jobs and their runs: asking for them, running them, keeping what they give."""
