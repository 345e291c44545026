"""The objects that request handlers use, one of each per process; imports no dialect."""
