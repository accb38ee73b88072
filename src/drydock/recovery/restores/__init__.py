"""A plan carried out: beside first, then in place, as a branch, or table by table."""
