"""Training of location encoders on global rasters or Sentinel-2 tiles, and probes of their embeddings."""
