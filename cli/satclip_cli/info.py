"""``satclip-index info``."""

from . import options
from .render import show_document


def info(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.DocumentFormat = "table",
) -> None:
    """Show the contents of an atlas, its encoder and the library versions that built it.

    Example: satclip-index info --atlas world

    Example, the whole manifest: satclip-index info --format json
    """
    from satclip_index import open_atlas

    manifest = open_atlas(atlas).manifest
    if format == "json":
        from dataclasses import asdict

        show_document(asdict(manifest), format)
        return
    hyperparameters = manifest.encoder["hyperparameters"]
    document = {
        "atlas": atlas,
        "size": f"{sum(file.size for file in manifest.files) / 1e6:,.0f} MB in {len(manifest.files)} files",
        "encoder": f"{manifest.encoder['name']}, L = {hyperparameters['legendre_polys']}, {manifest.dim} dimensions",
        "origin": ", ".join(f"{key} {value}" for key, value in manifest.encoder["origin"].items()),
        "sha256": manifest.encoder["sha256"],
        "cells": "land only" if manifest.land_only else "land and sea",
    }
    for res, entry in manifest.resolutions.items():
        quantiles = dict(zip(entry.similarity_levels, entry.similarity_quantiles, strict=True))
        document[f"res {res}"] = (
            f"{entry.count:,} cells, {entry.land_count:,} on land; random land pairs: median similarity "
            f"{quantiles[0.5]:.3f}, 90 % below {quantiles[0.9]:.3f}, 99 % below {quantiles[0.99]:.3f}"
        )
    fitted = manifest.components
    document["components"] = (
        f"fitted on {fitted['cells']:,} {fitted['fitted_on']} of res {fitted['res']}; the first "
        f"{len(fitted['variance_shares'])} have {100 * sum(fitted['variance_shares']):.1f} % of the variance"
    )
    document["made with"] = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    show_document(document, format)
