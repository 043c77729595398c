"""What a model is: architectures, networks, bundles on disk, and the detector of unknown tissue."""
