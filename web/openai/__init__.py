"""OpenAI's dialect: a thin translation to and from jobs and result rows. It holds no state of its
own."""
