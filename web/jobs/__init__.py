"""What a tenant may see of a job and do to it, for every dialect; imports none of them."""
