"""One file per data set, found by being here."""
