"""WHERE data come from and go to: NetCDF to arrays and back."""
