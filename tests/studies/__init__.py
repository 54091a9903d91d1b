"""What takes longer than a test may: `make study NAME=calibration`, in batches that are kept."""
