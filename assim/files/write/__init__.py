"""Where results go: arrays to NetCDF."""
