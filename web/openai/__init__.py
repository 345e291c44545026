"""OpenAI's API: translates its requests to jobs and result rows to its answers, without any state
of its own; imports no other dialect."""
