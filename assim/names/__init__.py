"""Families of public names, each a module of re-exports: `assim.prior`, `assim.likelihood`, …

A family is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
