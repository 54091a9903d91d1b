"""Where data come from: NetCDF to arrays."""
