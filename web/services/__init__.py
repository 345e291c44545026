"""Objects that request handlers use, one of each per process; of `web` imports only `schemas`."""
