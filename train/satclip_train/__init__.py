"""Training of location encoders, from global rasters or Sentinel-2 tiles, and probes of what they are worth."""
