from .couplings import Couplings as Couplings
from .ensembles import chain as chain
from .ensembles import generalized as generalized
from .ensembles import lattice_2d as lattice_2d
from .ensembles import sk_potts as sk_potts
from .exact import enumerate_states as enumerate_states
from .graph import read_edges as read_edges
from .potts import PottsModel as PottsModel
