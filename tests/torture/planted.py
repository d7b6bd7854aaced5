"""Bugs that are planted in an attacked process, to see that the attack finds them."""

from torture import victims


def plant(monkeypatch, module, function, *arguments):
    """Let every process that an attack of ``module`` starts begin with ``function``."""

    class Planted(victims.Call):
        def __init__(self, words, folder, before=()):
            super().__init__(words, folder, [*before, (function, arguments)])

    def call(*words, folder):
        return Planted(words, folder).wait()

    monkeypatch.setattr(module, "Call", Planted)
    monkeypatch.setattr(module, "call", call)
