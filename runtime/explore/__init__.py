"""The explorer: everything there is to see of a compiled model, as one page of HTML that needs no network."""
