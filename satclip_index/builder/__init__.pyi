from .build import build_atlas as build_atlas
from .verify import verify_atlas as verify_atlas
