"""Judging fields and ensembles: xarray in, xarray out."""
