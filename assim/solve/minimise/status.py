"""How a minimisation ended, as a value with a sentence of advice."""

import enum


class Status(enum.IntEnum):
    """State of a minimisation. Solvers carry the number; people read `advice`."""

    RUNNING = 0
    CONVERGED = 1
    STAGNATED = 2
    OUT_OF_LOOPS = 3
    NON_FINITE = 4
    SADDLE = 5

    def __str__(self) -> str:
        return self.name.lower()

    @property
    def advice(self) -> str:
        """What happened and what to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.RUNNING: "The minimisation has not ended.",
    Status.CONVERGED: (
        "The gradient is below the tolerance, or so near to it that no step lowers the cost."
    ),
    Status.STAGNATED: (
        "No step lowers the cost although the gradient is not yet small: the tolerance may be "
        "below what rounding or the model's own integration error allows (tighten the model's "
        "rtol, or relax the minimiser's tolerance), or the model is not differentiable here."
    ),
    Status.OUT_OF_LOOPS: (
        "The outer loops ran out before the gradient fell below the tolerance: allow more of them "
        "(n_outer); where the cost was still falling much, start from several first guesses."
    ),
    Status.NON_FINITE: (
        "The cost or its gradient is not finite at the first guess, or the gradient where a step "
        "led: check the background, the priors and the length of the window, start from several "
        "first guesses, and let `assim check` look for where the model is not differentiable."
    ),
    Status.SADDLE: (
        "The gradient is small, but the cost curves downwards from here in some direction: this is "
        "a saddle or a maximum and no minimum. Start from another first guess, or from several."
    ),
}
