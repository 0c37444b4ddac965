"""One room per system; see core.py for the contract and any room for an example."""
