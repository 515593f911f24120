from .recipe import Recipe as Recipe
from .steps import CheckpointFile as CheckpointFile
