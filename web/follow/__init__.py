"""Follows a running job, for every dialect; imports none of them."""
