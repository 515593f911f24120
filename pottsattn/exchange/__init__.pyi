from .conventions import objective_in as objective_in
from .conventions import penalty_from as penalty_from
from .conventions import penalty_to as penalty_to
from .formats import export as export
from .formats import write_sequences as write_sequences
from .parameters import read_parameters as read_parameters
