"""Data assimilation on JAX: one function d(χ) of a whitened control vector, solved in many ways.

The public names are listed in `__init__.pyi` and imported when first used: `import assim` alone
loads nothing heavy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
