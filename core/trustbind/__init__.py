"""The pure core of trustbind: values and decisions, with no framework, no clock and no network.

Each module holds one noun of the domain. ``errors`` opens with the tree of everything that can go wrong.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
