"""What a model outside JAX raises; nothing here imports JAX."""


class StoppedError(RuntimeError):
    """A foreign model that stops the whole program.

    Compiled programs raise it as an error of XLA, whose text has the name of this class and then
    the words.
    """
