"""pottsattn: factored attention and the inverse Potts problem.

Sample sequences from Potts models, infer the couplings by masked modeling or pseudo-likelihood,
predict the learning curves by the replica method, and compare. What most programs need is here;
the rest is in the faces of the rooms, such as `pottsattn.theory`. Importing is quick and quiet:
numba, scipy, h5py, torch and matplotlib load on first use.
"""


def __getattr__(name: str) -> object:
    """Find the public names when the first is asked for: the command line must not wait for it."""
    import lazy_loader

    found, names, public = lazy_loader.attach_stub(__name__, __file__)
    globals().update(__getattr__=found, __dir__=names, __all__=public)
    return public if name == "__all__" else found(name)


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))
