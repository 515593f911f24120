from .data import digit_data as digit_data
from .data import mixture_data as mixture_data
from .mixtures import gauge_mixture as gauge_mixture
from .probes import evaluate as evaluate
from .run import run_instances as run_instances
from .settings import EncoderConfig as EncoderConfig
from .settings import PretrainConfig as PretrainConfig
from .training import pretrain as pretrain
