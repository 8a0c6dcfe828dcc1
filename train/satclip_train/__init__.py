"""Training of location encoders: data, vision towers, losses, the loop, probes."""
