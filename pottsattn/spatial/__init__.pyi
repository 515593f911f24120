from .areas import PatchAreas as PatchAreas
from .areas import random_areas as random_areas
from .image_training import train_on_images as train_on_images
from .potts_areas import area_model as area_model
from .potts_training import train_potts_areas as train_potts_areas
from .recipe import ImageRecipe as ImageRecipe
from .recipe import SpatialRecipe as SpatialRecipe
from .training import train_areas as train_areas
