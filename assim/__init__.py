"""Data assimilation on JAX: one function d(χ) of a whitened control vector, solved in many ways.

What a script needs stands at the top; families are namespaces: `assim.prior`, `assim.likelihood`,
`assim.covariance`, `assim.operator`, `assim.minimiser`, `assim.posterior`, `assim.scheme`,
`assim.finding`, `assim.foreign`, `assim.derivatives`, `assim.plot`. All are listed in
`__init__.pyi` and imported when first used: `import assim` alone loads nothing heavy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
